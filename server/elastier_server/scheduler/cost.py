"""What a run will take: the latency profile, corrected by what is observed.

All times are seconds.
"""

from collections import deque
from collections.abc import Sequence

from elastier_contract.profile import LatencyProfile, Quantile

_WINDOW = 50
_OBSERVED_QUANTILE = 0.9
_JITTER_S = 1e-4
"""Added to both sides of a ratio: a cache miss must not look like a slow machine when a run takes 50 µs."""
_FIRST_OVERHEAD_S = 2e-4


class RecentQuantile:
    """The 0.9 quantile of the last values seen, or a first value until there is one."""

    def __init__(self, first: float) -> None:
        self._values: deque[float] = deque(maxlen=_WINDOW)
        self.value = first

    def add(self, value: float) -> None:
        """See a value."""
        self._values.append(value)
        ordered = sorted(self._values)
        self.value = ordered[int(_OBSERVED_QUANTILE * (len(ordered) - 1))]


class CostModel:
    """Predicts runs by the profile, scaled by one slow-down factor, and the time that answers take after a run."""

    def __init__(self, profile: LatencyProfile, tiers: Sequence[str]) -> None:
        self._profile = profile
        self._tiers = tuple(tiers)
        self._known: dict[tuple[int, int, Quantile], float] = {}
        self._ratios = RecentQuantile(1.0)
        self._overheads = RecentQuantile(_FIRST_OVERHEAD_S)

    @property
    def tiers(self) -> int:
        """Number of tiers, 0 the cheapest."""
        return len(self._tiers)

    @property
    def slowdown(self) -> float:
        """Xi: observed to profiled latency, at least 1; one factor for all tiers."""
        return max(1.0, self._ratios.value)

    @property
    def overhead_s(self) -> float:
        """From the end of a run until an answer is ready to be sent."""
        return self._overheads.value

    def high_s(self, tier: int, rows: int) -> float:
        """What a run will hardly exceed: the profile's p95, scaled."""
        return self._profiled_s(tier, rows, "p95") * self.slowdown

    def likely_s(self, tier: int, rows: int) -> float:
        """What a run will take as often as not: the profile's p50, scaled."""
        return self._profiled_s(tier, rows, "p50") * self.slowdown

    def observe_run(self, tier: int, rows: int, seconds: float) -> None:
        """See what a run took."""
        self._ratios.add((seconds + _JITTER_S) / (self._profiled_s(tier, rows, "p50") + _JITTER_S))

    def observe_overhead(self, seconds: float) -> None:
        """See what it took from the end of a run to its answer."""
        self._overheads.add(seconds)

    def _profiled_s(self, tier: int, rows: int, quantile: Quantile) -> float:
        key = (tier, rows, quantile)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._profile.latency_ms(self._tiers[tier], rows, quantile) / 1e3
        return known
