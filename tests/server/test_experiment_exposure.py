"""Exposures: the first time that a unit meets an arm, within bounded memory."""

from elastier_server.experiment.assignment import Assignment
from elastier_server.experiment.exposure import Exposures
from elastier_server.experiment.schema import Target


def assignment(experiment: str = "one", arm: str = "control") -> Assignment:
    return Assignment(experiment=experiment, arm=arm, target=Target(tier="w8"), probability=0.5)


def test_a_unit_is_exposed_once_to_each_arm_that_it_meets() -> None:
    exposures = Exposures(100)
    assert exposures.first_time(assignment(), "user")
    assert not exposures.first_time(assignment(), "user")
    assert exposures.first_time(assignment(arm="treatment"), "user")
    assert exposures.first_time(assignment(experiment="two"), "user")
    assert exposures.first_time(assignment(), "another")


def test_a_thousand_units_are_counted_once_each_however_often_they_come() -> None:
    exposures = Exposures(1_000)
    visits = [f"user-{index % 1_000}" for index in range(5_000)]
    assert sum(exposures.first_time(assignment(), unit) for unit in visits) == 1_000


def test_the_unit_that_stayed_away_longest_is_forgotten_first() -> None:
    exposures = Exposures(2)
    for unit in ("old", "kept", "kept", "old", "new"):
        exposures.first_time(assignment(), unit)
    assert not exposures.first_time(assignment(), "old")
    assert exposures.first_time(assignment(), "kept")
