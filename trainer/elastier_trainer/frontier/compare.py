"""Whether the front that was found covers more than the ladder does, on rows that did not choose it.

Shapes: R rows that judge, S sub-models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.frontier.pareto import Point, staircase
from elastier_trainer.metrics import CONFIDENCE
from elastier_trainer.submodel import Submodel

Measure = Callable[[Submodel, NDArray[np.int64]], float]
"""Metric of a sub-model on some of the rows that judge, by position; a position may come more than once."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Areas of two staircases on the same rows, and their difference with its 95 % interval."""

    front: float
    ladder: float
    difference: float
    low: float
    high: float
    resamples: int

    @property
    def beats(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


def compare(
    front: Sequence[Submodel],
    ladder: Sequence[Submodel],
    scale: Callable[[Submodel], float],
    measure: Measure,
    *,
    rows: int,
    reference: Point,
    seed: int,
    resamples: int,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare two sets of steps by a paired bootstrap over rows: both see the same rows every time.

    Args:
        front: What was found, by rising cost.
        ladder: What it is compared with, by rising cost.
        scale: Where a sub-model stands on the cost axis.
        measure: Metric on the rows that judge.
        rows: How many of them there are.
        reference: See `staircase`; on the same axis.
        seed: Of the resamples.
        resamples: Number of them; the interval's ends are quantiles.
        progress: Told after every resample.
    """

    def areas(rows_R: NDArray[np.int64]) -> tuple[float, float]:
        quality = {submodel: measure(submodel, rows_R) for submodel in {*front, *ladder}}
        ours, theirs = (
            staircase([Point(scale(submodel), quality[submodel]) for submodel in steps], reference)
            for steps in (front, ladder)
        )
        return ours, theirs

    ours, theirs = areas(np.arange(rows))
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for index in range(resamples):
        found = areas(rng.integers(0, rows, rows))
        differences[index] = found[0] - found[1]
        progress("bootstrap", index + 1, resamples, "")
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Comparison(
        front=ours,
        ladder=theirs,
        difference=ours - theirs,
        low=float(low),
        high=float(high),
        resamples=resamples,
    )
