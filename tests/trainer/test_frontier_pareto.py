"""Fronts and areas, against counting and against trying everything."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastier_trainer.frontier.pareto import Point, best_steps, hypervolume, pareto_front, staircase

REFERENCE = Point(12.0, 0.0)
points = st.lists(st.builds(Point, st.integers(0, 14), st.integers(-3, 9)), min_size=1, max_size=12)


def by_cost(found: list[Point]) -> list[Point]:
    return sorted(found, key=lambda point: point.cost)


def test_the_front_keeps_what_nothing_as_cheap_is_as_good_as() -> None:
    found = [Point(3, 5), Point(1, 2), Point(2, 2), Point(2, 4), Point(4, 5), Point(2, 4), Point(1, 1)]
    assert pareto_front(found) == [1, 3, 0]


@given(points)
def test_no_point_of_the_front_is_beaten_and_every_other_is(found: list[Point]) -> None:
    front = [found[index] for index in pareto_front(found)]
    for point in found:
        beaten_by = [other for other in front if other.cost <= point.cost and other.quality >= point.quality]
        assert beaten_by
        if point in front:
            assert beaten_by == [point]


def test_a_hypervolume_worked_out_by_hand() -> None:
    # 2 to 4 at height 1, 4 to 12 at height 3; the point at 6 is below the one at 4, that at 12 covers nothing.
    found = [Point(4, 3), Point(12, 9), Point(2, 1), Point(6, 2)]
    assert hypervolume(found, REFERENCE) == 2 * 1 + 8 * 3


@given(points)
def test_the_hypervolume_is_the_number_of_unit_cells_that_some_point_covers(found: list[Point]) -> None:
    cells = sum(
        any(point.cost <= x and point.quality >= y + 1 for point in found)
        for x in range(int(REFERENCE.cost))
        for y in range(int(REFERENCE.quality), 9)
    )
    assert hypervolume(found, REFERENCE) == cells


@given(points)
def test_steps_in_a_fixed_order_never_cover_more_than_the_best_choice_among_them(found: list[Point]) -> None:
    steps = by_cost(found)
    assert staircase(steps, REFERENCE) <= hypervolume(found, REFERENCE)
    front = [found[index] for index in pareto_front(found)]
    assert staircase(front, REFERENCE) == hypervolume(found, REFERENCE)


def test_a_step_that_turned_out_worse_counts_by_its_own_quality() -> None:
    assert staircase([Point(2, 5), Point(6, 3)], REFERENCE) == 4 * 5 + 6 * 3


@given(points, st.integers(2, 6))
def test_the_best_steps_are_those_that_trying_all_choices_finds(found: list[Point], count: int) -> None:
    steps = by_cost(found)
    chosen = best_steps(steps, count, REFERENCE)
    inner = range(1, len(steps) - 1)
    if len(steps) <= count:
        assert chosen == list(range(len(steps)))
        return
    best = max(
        staircase([steps[0], *(steps[index] for index in middle), steps[-1]], REFERENCE)
        for middle in combinations(inner, count - 2)
    )
    assert chosen[0] == 0
    assert chosen[-1] == len(steps) - 1
    assert len(chosen) == count
    assert staircase([steps[index] for index in chosen], REFERENCE) == pytest.approx(best)
