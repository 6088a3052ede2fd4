"""Whether the front that was found covers more than the ladder does, on rows that did not choose it.

Shapes: R rows that judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

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
    """Areas of some steps and of the ladder on the same rows, and their difference with its 95 % interval."""

    area: float
    ladder_area: float
    difference: float
    low: float
    high: float
    resamples: int

    @property
    def beats(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


def compare(
    candidates: Sequence[Sequence[Submodel]],
    ladder: Sequence[Submodel],
    scale: Callable[[Submodel], float],
    measure: Measure,
    *,
    rows: int,
    reference: Point,
    seed: int,
    resamples: int,
    progress: Progress = no_progress,
) -> list[Comparison]:
    """Compare steps with the ladder's by a paired bootstrap over rows: all see the same rows every time.

    Args:
        candidates: Sets of steps, each by rising cost.
        ladder: What each of them is compared with, by rising cost.
        scale: Where a sub-model stands on the cost axis.
        measure: Metric on the rows that judge.
        rows: How many of them there are.
        reference: See `staircase`; on the same axis.
        seed: Of the resamples.
        resamples: Number of them; the interval's ends are quantiles.
        progress: Told after every resample.
    """
    everything = dict.fromkeys(chain(*candidates, ladder))

    def areas(rows_R: NDArray[np.int64]) -> NDArray[np.float64]:
        points = {submodel: Point(scale(submodel), measure(submodel, rows_R)) for submodel in everything}
        return np.array(
            [staircase([points[step] for step in steps], reference) for steps in (*candidates, ladder)]
        )

    found = areas(np.arange(rows))
    rng = np.random.default_rng(seed)
    differences = np.empty((resamples, len(candidates)))
    for index in range(resamples):
        *resampled, resampled_ladder = areas(rng.integers(0, rows, rows))
        differences[index] = np.array(resampled) - resampled_ladder
        progress("bootstrap", index + 1, resamples, "")
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return [
        Comparison(
            area=float(found[number]),
            ladder_area=float(found[-1]),
            difference=float(found[number] - found[-1]),
            low=float(low[number]),
            high=float(high[number]),
            resamples=resamples,
        )
        for number in range(len(candidates))
    ]
