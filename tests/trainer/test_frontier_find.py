"""Choosing on some rows and judging on others: a real gain is found, luck is not taken for one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.find import Findings, Plan, find_front
from elastier_trainer.frontier.pareto import Point, hypervolume
from elastier_trainer.frontier.space import space_of
from elastier_trainer.submodel import Ladder, Submodel
from support.mixes import UNIFORM, AdditiveQuality, cost, log_cost, uniform

NOISE = 0.3
"""Of a row's score; a difference between two sub-models is lost in it on 400 rows if it is below about 0.03."""


@dataclass(frozen=True)
class NoisyRows:
    """Row scores of every sub-model around its true quality; their mean is the metric."""

    truth: Callable[[Submodel], float]
    half: int
    rows: int = 400

    def scores(self, submodel: Submodel) -> NDArray[np.float64]:
        own = np.random.default_rng([self.half, *submodel.widths])
        return self.truth(submodel) + NOISE * own.standard_normal(self.rows)

    def __call__(self, submodels: Sequence[Submodel]) -> list[float]:
        return [float(self.scores(submodel).mean()) for submodel in submodels]

    def prepare(self, submodels: Sequence[Submodel]) -> None:
        pass

    def measure(self, submodel: Submodel, rows_R: NDArray[np.int64]) -> float:
        return float(self.scores(submodel)[rows_R].mean())


def plan(ladder: Ladder = UNIFORM, *, evaluations: int = 60, tiers: int = 5, seed: int = 0) -> Plan:
    return Plan(
        space=space_of(ladder),
        ladder=ladder,
        cost=cost,
        chance=0.0,
        evaluations=evaluations,
        tiers=tiers,
        seed=seed,
        resamples=100,
    )


def find(truth: Callable[[Submodel], float], chosen: Plan, *, half: int = 0) -> Findings:
    found = find_front(chosen, NoisyRows(truth, 2 * half), NoisyRows(truth, 2 * half + 1))
    assert found is not None
    return found


def additive(submodel: Submodel) -> float:
    return 3 * AdditiveQuality().of(submodel)


def test_a_front_of_better_mixes_beats_the_ladder_and_so_do_as_many_tiers() -> None:
    found = find(additive, plan())
    for comparison in (found.front_against_ladder, found.tiers_against_ladder):
        assert comparison.beats
        assert 0 < comparison.low <= comparison.difference <= comparison.high
        assert comparison.difference == pytest.approx(comparison.area - comparison.ladder_area)


def test_luck_chooses_a_front_but_does_not_beat_the_ladder_on_other_rows() -> None:
    """Every sub-model is as good as every other: what looks better was lucky on the rows that chose."""
    flattered, beats = [], []
    for seed in range(12):
        found = find(lambda submodel: 0.7, plan(seed=seed), half=seed)
        reference = plan().reference
        on_choosing = [
            hypervolume([Point(log_cost(step), found.evaluated[step]) for step in steps], reference)
            for steps in (found.front, found.ladder)
        ]
        flattered.append(on_choosing[0] > on_choosing[1])
        beats.append(found.front_against_ladder.beats)
    assert sum(flattered) >= 10
    assert sum(beats) <= 1


def test_nothing_found_is_a_difference_of_exactly_0_and_no_win() -> None:
    found = find(additive, plan(evaluations=5))
    assert found.front == found.ladder
    comparison = found.front_against_ladder
    assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
    assert not comparison.beats


def test_the_interval_is_paired_noise_that_both_sides_share_does_not_widen_it() -> None:
    class Shared(NoisyRows):
        def scores(self, submodel: Submodel) -> NDArray[np.float64]:
            return self.truth(submodel) + 10 * np.random.default_rng(self.half).standard_normal(self.rows)

    found = find_front(plan(), Shared(additive, 0), Shared(additive, 1))
    assert found is not None
    comparison = found.front_against_ladder
    assert comparison.high - comparison.low < 0.2 * comparison.difference


@pytest.mark.parametrize("tiers", [2, 3, 5, 8])
def test_as_many_tiers_are_chosen_as_asked_for_cheapest_first_and_the_ta_last(tiers: int) -> None:
    found = find(additive, plan(tiers=tiers))
    students = found.tiers.submodels
    assert len(students) == tiers
    assert students[-1] == UNIFORM.ta
    assert students[0] == found.front[0]
    costs = [cost(student) for student in students]
    assert costs == sorted(costs)
    assert set(students[:-1]) <= set(found.front)


def test_a_ta_that_something_cheaper_beats_is_a_tier_all_the_same() -> None:
    def truth(submodel: Submodel) -> float:
        return 0.0 if submodel == UNIFORM.ta else additive(submodel)

    for tiers in (2, 4):
        found = find(truth, plan(tiers=tiers))
        assert UNIFORM.ta not in found.front
        assert found.tiers.ta == UNIFORM.ta
        assert len(found.tiers.submodels) == tiers


def test_tiers_bear_their_students_names_or_say_their_widths_and_names_are_unique() -> None:
    found = find(additive, plan(tiers=20))
    named = {student: name for name, student in found.tiers.students.items()}
    assert named[uniform(8)] == "s0"
    assert named[UNIFORM.ta] == "s4"
    mixes = [student for student in named if student not in UNIFORM.submodels]
    assert mixes
    for mix in mixes:
        assert named[mix] == "w" + "-".join(map(str, mix.widths))
    assert len(set(named.values())) == len(named)


def test_a_name_that_would_be_too_long_for_a_tier_is_a_number() -> None:
    layers = range(30)
    deep = Ladder(students={"small": uniform(8, layers), "large": uniform(128, layers)})
    found = find(lambda submodel: sum(submodel.widths) / 1000, plan(deep, tiers=4))
    assert list(found.tiers.names) == ["small", "mix2", "mix3", "large"]


def test_a_search_that_was_stopped_judges_nothing() -> None:
    rows = NoisyRows(additive, 0)
    assert find_front(plan(), rows, rows, stop=lambda: True) is None


def test_one_tier_cannot_be_a_ladder() -> None:
    with pytest.raises(ConfigError, match="tiers: expected at least 2, the cheapest and the TA, got 1"):
        find(additive, plan(tiers=1))


def test_a_ta_alone_is_its_own_front() -> None:
    found = find(additive, plan(Ladder(students={"ta": uniform(8)}), tiers=1))
    assert found.front == [uniform(8)] == list(found.tiers.submodels)
