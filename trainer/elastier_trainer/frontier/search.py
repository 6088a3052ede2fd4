"""The search itself: from the ladder, by small steps and by chance, within a budget of evaluations.

Pure: the same space, qualities, costs and seed give the same order of evaluations, whatever the budget.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count

import numpy as np

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.guess import additive_guess
from elastier_trainer.frontier.pareto import Point, hypervolume, pareto_front
from elastier_trainer.frontier.space import Space
from elastier_trainer.submodel import Submodel

Evaluate = Callable[[Sequence[Submodel]], list[float]]
"""Quality of each sub-model; more is better."""
Cost = Callable[[Submodel], float]

BATCH = 8
"""Sub-models evaluated together: they share what they have in common, and Ctrl-C need not wait long."""
NEAR, PROMISING = 3, 3
"""Of a batch: neighbours of the front, and draws around it, that promise most; the rest is left to chance."""
DRAWS = 160
"""Mutations and crossings to choose from for a batch."""


def search(
    space: Space,
    start: Sequence[Submodel],
    evaluate: Evaluate,
    cost: Cost,
    *,
    reference: Point,
    evaluations: int,
    seed: int,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> dict[Submodel, float]:
    """Sub-model → quality of all that was looked at, in that order.

    Every batch has neighbours of the front, then mutations and crossings of it: those first that would add
    most area if they are as good as `additive_guess` says, and a few whatever it says. Ends early once the
    space has nothing left.

    Args:
        space: Where to look.
        start: The uniform ladder; evaluated first.
        evaluate: Quality of some sub-models.
        cost: Where a sub-model stands on the cost axis.
        reference: From where areas are measured, see `staircase`.
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
    batches = chain([list(start)], _proposals(space, found, cost, reference, seed))
    for batch in batches:
        wanted = batch[: evaluations - len(found)]
        if not wanted or stop():
            break
        found.update(zip(wanted, evaluate(wanted), strict=True))
        progress("frontier", len(found), total, f"{len(front_of(found, cost))} on the front")
    return found


def front_of(found: Mapping[Submodel, float], cost: Cost) -> list[Submodel]:
    """The Pareto front of what was evaluated, cheapest first."""
    submodels = list(found)
    points = [Point(cost(submodel), found[submodel]) for submodel in submodels]
    return [submodels[index] for index in pareto_front(points)]


def _proposals(
    space: Space, found: dict[Submodel, float], cost: Cost, reference: Point, seed: int
) -> Iterator[list[Submodel]]:
    """Endless batches of what was not evaluated yet; an empty one when nothing is left."""
    for number in count():
        rng = np.random.default_rng([seed, number])
        front = front_of(found, cost)
        promise = _promise(found, front, cost, reference)
        near = _new(found, chain.from_iterable(map(space.neighbours, front)))
        chances = _new(found, _chances(space, front, rng))
        batch: dict[Submodel, None] = {}
        _fill(batch, sorted(near, key=promise), NEAR)
        _fill(batch, sorted(chances, key=promise), NEAR + PROMISING)
        _fill(batch, [*chances, *near], BATCH)
        if not batch:  # the front's surroundings are known: go on from everything else
            _fill(batch, _new(found, chain.from_iterable(map(space.neighbours, found))), BATCH)
        yield list(batch)


def _promise(
    found: Mapping[Submodel, float], front: Sequence[Submodel], cost: Cost, reference: Point
) -> Callable[[Submodel], float]:
    """Minus the area that a sub-model would add to the front if it is as good as guessed."""
    points = [Point(cost(step), found[step]) for step in front]
    guess = additive_guess(found)
    return lambda submodel: -hypervolume([*points, Point(cost(submodel), guess(submodel))], reference)


def _new(found: Mapping[Submodel, float], submodels: Iterable[Submodel]) -> list[Submodel]:
    return [submodel for submodel in dict.fromkeys(submodels) if submodel not in found]


def _fill(batch: dict[Submodel, None], source: Sequence[Submodel], size: int) -> None:
    for submodel in source:
        if len(batch) >= size:
            break
        batch.setdefault(submodel)


def _chances(space: Space, front: Sequence[Submodel], rng: np.random.Generator) -> Iterator[Submodel]:
    for _ in range(DRAWS):
        parent = front[int(rng.integers(len(front)))]
        if rng.random() < 0.5:
            parent = space.cross(parent, front[int(rng.integers(len(front)))], rng)
        yield space.mutate(parent, rng)
