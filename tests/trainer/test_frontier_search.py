"""The search on a made-up model whose best front is known."""

from itertools import pairwise

import numpy as np
import pytest

from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.pareto import Point, hypervolume
from elastier_trainer.frontier.search import front_of, search
from elastier_trainer.frontier.space import Shape, Space, space_of
from elastier_trainer.submodel import Submodel
from support.mixes import UNIFORM, AdditiveQuality, everything, ladder_of, log_cost, true_front, uniform

SPACE = space_of(UNIFORM)
REFERENCE = Point(log_cost(UNIFORM.ta), 0.5)
DEEP = ladder_of(uniform(8, (0,)), uniform(16, (0, 2)), uniform(32), uniform(64))


def area(found: dict[Submodel, float]) -> float:
    points = [Point(log_cost(submodel), quality) for submodel, quality in found.items()]
    return hypervolume(points, REFERENCE)


def run(evaluations: int, seed: int = 0, quality: AdditiveQuality | None = None) -> dict[Submodel, float]:
    return search(
        SPACE,
        UNIFORM.submodels,
        quality or AdditiveQuality(),
        log_cost,
        reference=REFERENCE,
        evaluations=evaluations,
        seed=seed,
    )


def test_the_space_has_every_mix_of_trained_widths_in_every_trained_shape_and_nothing_else() -> None:
    assert SPACE.size == len(everything(SPACE)) == 5**3
    space = space_of(DEEP)
    assert space.widths == {0: (8, 16, 32, 64), 1: (32, 64), 2: (16, 32, 64)}
    assert set(space.shapes) == {Shape((0,), 16), Shape((0, 2), 16), Shape((0, 1, 2), 16)}
    assert space.size == 4 + 4 * 3 + 4 * 2 * 3
    for inside in everything(space):
        assert inside in space
    for outside in (uniform(8), uniform(16, (0, 1)), uniform(24, (0,)), uniform(64, (1, 2))):
        assert outside not in space


@pytest.mark.parametrize("space", [SPACE, space_of(DEEP)])
def test_no_move_leaves_the_space(space: Space) -> None:
    rng = np.random.default_rng(0)
    mixes = everything(space)
    for left in mixes:
        right = mixes[int(rng.integers(len(mixes)))]
        moves = [*space.neighbours(left), space.mutate(left, rng), space.cross(left, right, rng)]
        assert [move for move in moves if move not in space] == []


def test_a_neighbour_is_one_trained_step_away() -> None:
    found = SPACE.neighbours(Submodel(widths=(8, 32, 128), layers=(0, 1, 2), model_dim=16))
    assert [submodel.widths for submodel in found] == [
        (16, 32, 128),
        (8, 16, 128),
        (8, 64, 128),
        (8, 32, 64),
    ]


def test_another_shape_keeps_widths_where_it_can_and_takes_trained_ones_where_it_cannot() -> None:
    space = space_of(DEEP)
    deeper = space.reshape(Submodel(widths=(64, 16), layers=(0, 2), model_dim=16), Shape((0, 1, 2), 16))
    assert deeper.widths == (64, 64, 16)
    assert space.reshape(uniform(8, (0,)), Shape((0, 1, 2), 16)).widths == (8, 32, 16)


def test_the_ladder_comes_first_and_nothing_is_evaluated_twice() -> None:
    quality = AdditiveQuality()
    found = run(60, quality=quality)
    assert tuple(quality.asked[:5]) == UNIFORM.submodels
    assert len(set(quality.asked)) == len(quality.asked) == len(found) == 60
    assert list(found) == quality.asked


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_space_is_enough_for_nearly_all_of_the_best_front(seed: int) -> None:
    quality = AdditiveQuality()
    best = hypervolume(true_front(SPACE, quality), REFERENCE)
    ladder = area({student: quality.of(student) for student in UNIFORM.submodels})
    won = (area(run(60, seed)) - ladder) / (best - ladder)
    assert won > 0.99


def test_the_search_wins_more_than_looking_anywhere_with_the_same_budget() -> None:
    quality, mixes = AdditiveQuality(), everything(SPACE)
    searched, drawn = [], []
    for seed in range(5):
        searched.append(area(run(30, seed)))
        chosen = np.random.default_rng(seed).choice(len(mixes), 25, replace=False)
        random = [*UNIFORM.submodels, *(mixes[index] for index in chosen)]
        drawn.append(area({submodel: quality.of(submodel) for submodel in random}))
    assert min(searched) > max(drawn)


def test_with_budget_to_spare_all_of_the_space_is_seen_and_the_search_ends() -> None:
    for ladder in (UNIFORM, DEEP):
        space, quality = space_of(ladder), AdditiveQuality()
        found = search(
            space, ladder.submodels, quality, log_cost, reference=REFERENCE, evaluations=10_000, seed=0
        )
        assert set(found) == set(everything(space))
        front = [Point(log_cost(submodel), found[submodel]) for submodel in front_of(found, log_cost)]
        assert front == true_front(space, quality)


def test_the_same_seed_looks_at_the_same_and_a_larger_budget_only_goes_on() -> None:
    assert list(run(50, seed=3)) == list(run(50, seed=3))
    assert list(run(23, seed=3)) == list(run(50, seed=3))[:23]
    assert list(run(50, seed=3)) != list(run(50, seed=4))


def test_the_front_rises_in_cost_and_in_quality() -> None:
    found = run(60)
    front = front_of(found, log_cost)
    for left, right in pairwise(front):
        assert log_cost(left) < log_cost(right)
        assert found[left] < found[right]


@pytest.mark.parametrize(("evaluations", "total"), [(30, 30), (10_000, 125)])
def test_progress_is_told_up_to_the_budget_or_the_spaces_size(evaluations: int, total: int) -> None:
    told: list[tuple[str, float, float, str]] = []
    search(
        SPACE,
        UNIFORM.submodels,
        AdditiveQuality(),
        log_cost,
        reference=REFERENCE,
        evaluations=evaluations,
        seed=0,
        progress=lambda *call: told.append(call),
    )
    assert [done for _, done, _, _ in told] == sorted({done for _, done, _, _ in told})
    assert told[-1][1:3] == (total, total)


def test_a_stop_between_batches_keeps_what_was_found() -> None:
    quality = AdditiveQuality()
    found = search(
        SPACE,
        UNIFORM.submodels,
        quality,
        log_cost,
        reference=REFERENCE,
        evaluations=60,
        seed=0,
        stop=lambda: len(quality.asked) >= 20,
    )
    assert list(found) == quality.asked == list(run(60))[:21]


def test_a_budget_below_the_ladder_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluations: expected at least 5, .* got 4"):
        run(4)
    assert list(run(5)) == list(UNIFORM.submodels)
