"""Fronts of quality over cost, in two dimensions, and the area that they cover."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Point:
    """What something costs (less is better) and how good it is (more is better)."""

    cost: float
    quality: float


def pareto_front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that nothing cheaper or as cheap is as good as, by rising cost.

    Of equal points the first stays.
    """
    order = sorted(range(len(points)), key=lambda index: (points[index].cost, -points[index].quality, index))
    kept: list[int] = []
    for index in order:
        if not kept or points[index].quality > points[kept[-1]].quality:
            kept.append(index)
    return kept


def staircase(steps: Sequence[Point], reference: Point) -> float:
    """Area between the reference's quality and steps that each hold from their cost to the next one's.

    Where the steps' quality rises this is their hypervolume. Where it does not, because they were chosen on
    other rows, a step counts by its own quality, not by that of a better one before it: choosing again on the
    rows that judge would flatter whoever has more to choose from. So it is never above the hypervolume.

    Args:
        steps: By rising cost; those at the reference's cost or beyond cover nothing.
        reference: The costliest and the worst that counts.
    """
    within = [step for step in steps if step.cost < reference.cost]
    return sum(
        (right.cost - left.cost) * max(left.quality - reference.quality, 0.0)
        for left, right in pairwise([*within, reference])
    )


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Exact area that is dominated by at least one of the points and dominates the reference."""
    return staircase([points[index] for index in pareto_front(points)], reference)


def best_steps(steps: Sequence[Point], count: int, reference: Point) -> list[int]:
    """Indices of the `count` steps that cover most; the first and the last always stay.

    Exact, by dynamic programming over the last step chosen.

    Args:
        steps: By rising cost.
        count: At least 2, or at least as many as there are steps.
        reference: As for `staircase`.
    """
    if count >= len(steps):
        return list(range(len(steps)))
    # covered[last] = (area from the first step up to the start of `last`, the steps chosen)
    covered: dict[int, tuple[float, list[int]]] = {0: (0.0, [0])}
    for _ in range(count - 1):
        grown: dict[int, tuple[float, list[int]]] = {}
        for last, (area, chosen) in covered.items():
            for following in range(last + 1, len(steps)):
                more = area + staircase(
                    [steps[last]], Point(min(steps[following].cost, reference.cost), reference.quality)
                )
                if following not in grown or more > grown[following][0]:
                    grown[following] = (more, [*chosen, following])
        covered = grown
    return covered[len(steps) - 1][1]
