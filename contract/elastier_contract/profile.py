"""Latency per tier and batch size, in rows: measured, interpolated, and compared with what is observed."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from elastier_contract.errors import ProfileError
from elastier_contract.machine import Machine
from elastier_contract.model import FrozenModel
from elastier_contract.progress import Progress, no_progress

Quantile = Literal["p50", "p95", "p99"]
QUANTILES: tuple[Quantile, ...] = ("p50", "p95", "p99")
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

UNEVEN_SHARE = 0.05
"""Falls of the median by less are noise."""

RunTier = Callable[[str, int], None]
"""Run one tier on a batch of that many rows."""


class LatencyPoint(FrozenModel):
    """Latency of one tier at one batch size, in milliseconds."""

    rows: PositiveInt
    p50_ms: PositiveFloat
    p95_ms: PositiveFloat
    p99_ms: PositiveFloat

    @model_validator(mode="after")
    def _ordered(self) -> "LatencyPoint":
        if not self.p50_ms <= self.p95_ms <= self.p99_ms:
            raise ValueError(f"expected p50 <= p95 <= p99, got {self.p50_ms}, {self.p95_ms}, {self.p99_ms}")
        return self


class LatencyProfile(FrozenModel):
    """Latency of every tier over batch sizes, and the machine it holds for."""

    schema_version: Literal[1] = 1
    machine: Machine
    threads: PositiveInt
    """Intra-op threads of one run."""
    runs: PositiveInt
    """Timed runs per tier and batch size."""
    tiers: dict[str, tuple[LatencyPoint, ...]] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_ascend(self) -> "LatencyProfile":
        for name, points in self.tiers.items():
            rows = [point.rows for point in points]
            if not rows or rows != sorted(set(rows)):
                raise ValueError(f"batch sizes of tier {name!r} must ascend, got {rows}")
        return self

    @cached_property
    def _curves(self) -> dict[tuple[str, Quantile], tuple[list[int], list[float]]]:
        return {
            (name, quantile): ([p.rows for p in points], [getattr(p, f"{quantile}_ms") for p in points])
            for name, points in self.tiers.items()
            for quantile in QUANTILES
        }

    def latency_ms(self, tier: str, rows: int, quantile: Quantile) -> float:
        """Latency of `tier` on a batch of `rows`: linear between measured sizes, and beyond the largest.

        Raises:
            ProfileError: The profile has no such tier.
        """
        curve = self._curves.get((tier, quantile))
        if curve is None:
            raise ProfileError(f"expected a tier of the profile, one of {sorted(self.tiers)}, got {tier!r}")
        sizes, latencies_ms = curve
        if rows <= sizes[0] or len(sizes) == 1:
            return latencies_ms[0] * max(1.0, rows / sizes[0])
        right = min(bisect_left(sizes, rows), len(sizes) - 1)
        slope = (latencies_ms[right] - latencies_ms[right - 1]) / (sizes[right] - sizes[right - 1])
        return latencies_ms[right] + max(slope, 0.0) * (rows - sizes[right])


def uneven_points(profile: LatencyProfile, tiers: Sequence[str]) -> list[str]:
    """Where the median latency falls though the batch or the tier grows, in words; empty for an isotonic profile.

    Args:
        profile: A profile.
        tiers: Its tiers, from the cheapest to the costliest.
    """
    found = []
    for name in tiers:
        for small, large in pairwise(profile.tiers[name]):
            if large.p50_ms < small.p50_ms * (1 - UNEVEN_SHARE):
                found.append(
                    f"{name}: {large.rows} rows take {large.p50_ms:.3f} ms, {small.rows} take {small.p50_ms:.3f}"
                )
    for cheap, costly in pairwise(tiers):
        for left, right in zip(profile.tiers[cheap], profile.tiers[costly], strict=False):
            if left.rows == right.rows and right.p50_ms < left.p50_ms * (1 - UNEVEN_SHARE):
                found.append(
                    f"{left.rows} rows: {costly} takes {right.p50_ms:.3f} ms, the cheaper {cheap} {left.p50_ms:.3f}"
                )
    return found


def measure_profile(
    run: RunTier,
    tiers: Sequence[str],
    *,
    machine: Machine,
    threads: int,
    runs: int = 50,
    batch_rows: Sequence[int] = BATCH_ROWS,
    progress: Progress = no_progress,
) -> LatencyProfile:
    """Time every tier at every batch size, interleaved, so that drift of the machine hits all tiers alike.

    Args:
        run: Runs one tier on a batch of that many rows, to completion.
        tiers: Tier names.
        machine: The machine this runs on.
        threads: Intra-op threads that `run` uses.
        runs: Timed rounds per batch size; each is preceded by an untimed run per tier.
        batch_rows: Batch sizes in rows, ascending.
        progress: Told after every round.
    """
    points: dict[str, list[LatencyPoint]] = {name: [] for name in tiers}
    total = len(batch_rows) * runs
    for size_index, rows in enumerate(batch_rows):

        def told(done: int, base: int = size_index * runs, rows: int = rows) -> None:
            progress("profile", base + done, total, f"{rows} rows")

        samples_ms = _time_rounds(run, tiers, rows, runs, told)
        for name in tiers:
            p50, p95, p99 = np.quantile(samples_ms[name], (0.5, 0.95, 0.99))
            points[name].append(LatencyPoint(rows=rows, p50_ms=p50, p95_ms=p95, p99_ms=p99))
    return LatencyProfile(
        machine=machine,
        threads=threads,
        runs=runs,
        tiers={name: tuple(found) for name, found in points.items()},
    )


def _time_rounds(
    run: RunTier, tiers: Iterable[str], rows: int, runs: int, told: Callable[[int], None]
) -> Mapping[str, list[float]]:
    samples_ms: dict[str, list[float]] = {name: [] for name in tiers}
    for name in samples_ms:
        run(name, rows)
    # A tier that always followed the same one would be measured with that one's cache.
    order = list(samples_ms.items())
    rng = np.random.default_rng(rows)
    for done in range(1, runs + 1):
        for index in rng.permutation(len(order)):
            name, samples = order[index]
            start = time.perf_counter()
            run(name, rows)
            samples.append((time.perf_counter() - start) * 1e3)
        told(done)
    return samples_ms
