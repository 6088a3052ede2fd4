"""How sure a study can be: means and paired differences over seeds, with 95 % intervals of Student's t.

Pure functions. The interval speaks of seeds (labelled rows, order of batches, fresh weights) on one test
split, not of another sample of test rows.

Shapes: S seeds.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from elastier_trainer.errors import DataError

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and the ends of its interval; no ends for one seed, which has no spread."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def reach(self) -> float | None:
        """Half the interval."""
        return None if self.high is None else self.high - self.mean


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % t-interval of S numbers.

    Raises:
        DataError: No number, or one that is not finite.
    """
    values_S = np.asarray(values, dtype=np.float64)
    if not len(values_S) or not np.isfinite(values_S).all():
        raise DataError(f"expected finite values of one seed or more, got {list(values)}")
    mean, seeds = float(values_S.mean()), len(values_S)
    if seeds == 1:
        return Estimate(mean=mean, low=None, high=None, seeds=1)
    error = float(values_S.std(ddof=1)) / seeds**0.5
    reach = float(t.ppf((1 + CONFIDENCE) / 2, seeds - 1)) * error
    return Estimate(mean=mean, low=mean - reach, high=mean + reach, seeds=seeds)


BySeed = Mapping[int, float]
"""Seed → metric; more is better, 1 is perfect."""


def paired_difference(left: BySeed, right: BySeed) -> Estimate | None:
    """What left has above right, over the seeds that both have; None if they share none."""
    seeds = _shared(left, right)
    return estimate([left[seed] - right[seed] for seed in seeds]) if seeds else None


def relative_loss_change(left: BySeed, right: BySeed) -> Estimate | None:
    """Change of 1 − metric from right to left, as a share of right's, seed by seed; minus is better.

    Raises:
        DataError: A loss of 0, which nothing can be a share of.
    """
    seeds = _shared(left, right)
    if perfect := [seed for seed in seeds if right[seed] >= 1]:
        raise DataError(f"expected a baseline with some loss, got a perfect one for seeds {perfect}")
    changes = [(right[seed] - left[seed]) / (1 - right[seed]) for seed in seeds]
    return estimate(changes) if changes else None


def ladder_steps(ladder: Sequence[BySeed]) -> list[Estimate | None]:
    """Each width less the next smaller one, paired by seed; `ladder` goes from the smallest up."""
    return [paired_difference(wider, narrower) for narrower, wider in itertools.pairwise(ladder)]


def interaction(*, both: BySeed, first: BySeed, second: BySeed, neither: BySeed) -> Estimate | None:
    """What both together give beyond the sum of each alone: (both − neither) − (first − neither) − (second − neither).

    Above 0 is super-additive. Seed by seed, over the seeds that all four have.
    """
    seeds = _shared(both, first, second, neither)
    values = [both[seed] - first[seed] - second[seed] + neither[seed] for seed in seeds]
    return estimate(values) if values else None


def _shared(*runs: BySeed) -> list[int]:
    return sorted(set.intersection(*(set(run) for run in runs)))
