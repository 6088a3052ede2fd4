"""The search itself: from the ladder, by small steps and by chance, within a budget of evaluations.

Pure: the same space, qualities, costs and seed give the same order of evaluations, whatever the budget.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise, zip_longest

import numpy as np

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.pareto import Point, pareto_front
from elastier_trainer.frontier.space import Space
from elastier_trainer.submodel import Submodel

Evaluate = Callable[[Sequence[Submodel]], list[float]]
"""Quality of each sub-model; more is better."""
Cost = Callable[[Submodel], float]

BATCH = 8
"""Sub-models evaluated together: they share what they have in common, and Ctrl-C need not wait long."""
CHANCE_TRIES = 20


def search(
    space: Space,
    start: Sequence[Submodel],
    evaluate: Evaluate,
    cost: Cost,
    *,
    evaluations: int,
    seed: int,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> dict[Submodel, float]:
    """Sub-model → quality of all that was looked at, in that order.

    Half of every batch are neighbours of the front, those beside its largest steps first; the other half are
    mutations and crossings of it. Ends early once the space has nothing left.

    Args:
        space: Where to look.
        start: The uniform ladder; evaluated first.
        evaluate: Quality of some sub-models.
        cost: What a sub-model costs.
        evaluations: How many sub-models to evaluate at most, the ladder's among them.
        seed: Of all that is drawn.
        progress: Told after every batch.
        stop: Asked before every batch; True ends the search with what there is.

    Raises:
        ConfigError: A budget that does not even cover the ladder.
    """
    if evaluations < len(start):
        raise ConfigError(
            f"evaluations: expected at least {len(start)}, one for each student of the ladder, got {evaluations}"
        )
    found: dict[Submodel, float] = {}
    total = min(evaluations, space.size)
    batches = chain([list(start)], _proposals(space, found, cost, seed))
    for batch in batches:
        wanted = batch[: evaluations - len(found)]
        if not wanted or stop():
            break
        found.update(zip(wanted, evaluate(wanted), strict=True))
        progress("frontier", len(found), total, f"{len(front_of(found, cost))} on the front")
    return found


def front_of(found: dict[Submodel, float], cost: Cost) -> list[Submodel]:
    """The Pareto front of what was evaluated, cheapest first."""
    submodels = list(found)
    points = [Point(cost(submodel), found[submodel]) for submodel in submodels]
    return [submodels[index] for index in pareto_front(points)]


def _proposals(space: Space, found: dict[Submodel, float], cost: Cost, seed: int) -> Iterator[list[Submodel]]:
    """Endless batches of what was not evaluated yet; an empty one when nothing is left."""
    batch_number = 0
    while True:
        rng = np.random.default_rng([seed, batch_number])
        front = front_of(found, cost)
        batch: dict[Submodel, None] = {}
        _fill(batch, _neighbours(space, front, found, cost), found, BATCH // 2)
        _fill(batch, _chances(space, front, rng), found, BATCH)
        _fill(batch, _neighbours(space, front, found, cost), found, BATCH)
        if not batch:  # the front's surroundings are known: go on from everything else
            _fill(batch, _neighbours(space, list(found), found, cost), found, BATCH)
        yield list(batch)
        batch_number += 1


def _fill(
    batch: dict[Submodel, None], source: Iterator[Submodel], found: dict[Submodel, float], size: int
) -> None:
    while len(batch) < size and (submodel := next(source, None)) is not None:
        if submodel not in found:
            batch.setdefault(submodel)


def _neighbours(
    space: Space, origins: Sequence[Submodel], found: dict[Submodel, float], cost: Cost
) -> Iterator[Submodel]:
    """Neighbours of the origins in turns: beside the largest step of the front there is most to win."""
    points = [Point(cost(origin), found[origin]) for origin in origins]
    gains = [
        max(right.cost - left.cost, 0.0) * max(right.quality - left.quality, 0.0)
        for left, right in pairwise(points)
    ]
    # A step can be filled from either of its ends.
    worth = [max(pair) for pair in zip([0.0, *gains], [*gains, 0.0], strict=True)]
    order = sorted(range(len(origins)), key=lambda index: -worth[index])
    rounds = zip_longest(*(space.neighbours(origins[index]) for index in order))
    return (neighbour for turn in rounds for neighbour in turn if neighbour is not None)


def _chances(space: Space, front: Sequence[Submodel], rng: np.random.Generator) -> Iterator[Submodel]:
    for _ in range(CHANCE_TRIES * BATCH):
        parent = front[int(rng.integers(len(front)))]
        if rng.random() < 0.5:
            parent = space.cross(parent, front[int(rng.integers(len(front)))], rng)
        yield space.mutate(parent, rng)
