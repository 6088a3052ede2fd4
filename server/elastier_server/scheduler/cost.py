"""What a run will take: the latency profile, corrected by what is observed.

All times are seconds.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

from elastier_contract.profile import LatencyProfile, Quantile

_WINDOW = 50
_LEAST = 5
_JITTER_S = 1e-4
"""Added to both sides of a ratio: a cache miss must not look like a slow machine when a run takes 50 µs."""
_FIRST_OVERHEAD_S = 2e-4

TARGET = 0.995
"""The share of deadlines that the choice of a tier is to keep."""
_HIGH_RATIO = 1 - 5 * (1 - TARGET)
"""Of the ratios. It scales a p95 of the profile, which by itself is exceeded by one run in 20 only."""


class Recent:
    """The last values seen, at most `memory_s` old; where values are rare, the last few however old."""

    def __init__(self, first: float, *, high: float, window: int = _WINDOW, memory_s: float = 1.0) -> None:
        self.first = first
        self._high = high
        self._window = window
        self._memory_s = memory_s
        self._seen: deque[tuple[float, float]] = deque()
        self._ordered: list[float] = []
        """The same values ascending: kept so, since quantiles are asked for after every value."""

    def add(self, value: float, now_s: float) -> None:
        """See a value."""
        seen = self._seen
        seen.append((now_s, value))
        insort(self._ordered, value)
        while len(seen) > self._window or (len(seen) > _LEAST and seen[0][0] < now_s - self._memory_s):
            _, old = seen.popleft()
            del self._ordered[bisect_left(self._ordered, old)]

    @property
    def high(self) -> float:
        """Their high quantile; the first value given, as long as none was seen."""
        return self._quantile(self._high)

    @property
    def middle(self) -> float:
        """Their median; the first value given, as long as none was seen."""
        return self._quantile(0.5)

    @property
    def mean(self) -> float:
        """Their mean; the first value given, as long as none was seen."""
        return sum(self._ordered) / len(self._ordered) if self._ordered else self.first

    def _quantile(self, share: float) -> float:
        ordered = self._ordered
        return ordered[int(share * (len(ordered) - 1))] if ordered else self.first


class CostModel:
    """Predicts runs by the profile, scaled by one slow-down factor, and the time that answers take after a run."""

    def __init__(self, profile: LatencyProfile, tiers: Sequence[str]) -> None:
        self._profile = profile
        self._tiers = tuple(tiers)
        self._known: dict[tuple[int, int, Quantile], float] = {}
        self._ratios = Recent(1.0, high=_HIGH_RATIO)
        self._overheads = Recent(_FIRST_OVERHEAD_S, high=TARGET, window=200)
        self._gaps = Recent(0.0, high=TARGET)
        self._last_answer = (0.0, 0.0)
        self._likely_slowdown = 1.0
        self.tiers = len(self._tiers)
        """Number of tiers, 0 the cheapest."""
        self.slowdown = 1.0
        """Xi: observed to profiled latency, at least 1; one factor for all tiers."""
        self.overhead_s = self.likely_overhead_s = _FIRST_OVERHEAD_S
        """What it hardly takes longer from the end of a run until its first answer is ready to be sent; and what that
        takes as often as not: while the event loop reads a large request, it is a lot longer."""
        self.gap_s = 0.0
        """From one answer of a batch to the next, on average: answers are written one by one."""

    def high_s(self, tier: int, rows: int) -> float:
        """What a run will hardly exceed: the profile's p95, scaled."""
        return self.profiled_s(tier, rows, "p95") * self.slowdown

    def likely_s(self, tier: int, rows: int) -> float:
        """What a run will take as often as not: the profile's p50, scaled by the median of what was observed."""
        return self.profiled_s(tier, rows, "p50") * self._likely_slowdown

    def profiled_s(self, tier: int, rows: int, quantile: Quantile) -> float:
        """What the profile says, whatever was observed since."""
        key = (tier, rows, quantile)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._profile.latency_ms(self._tiers[tier], rows, quantile) / 1e3
        return known

    def observe_run(self, tier: int, rows: int, seconds: float, now_s: float) -> None:
        """See what a run took that ended now."""
        ratio = (seconds + _JITTER_S) / (self.profiled_s(tier, rows, "p50") + _JITTER_S)
        self._ratios.add(ratio, now_s)
        self.slowdown = max(1.0, self._ratios.high)
        self._likely_slowdown = max(1.0, self._ratios.middle)

    def observe_answer(self, finished_s: float, now_s: float) -> None:
        """See that an answer of the run that ended at `finished_s` is ready now."""
        run_s, before_s = self._last_answer
        if run_s == finished_s:
            self._gaps.add(now_s - before_s, now_s)
            self.gap_s = self._gaps.mean
        else:
            self._overheads.add(now_s - finished_s, now_s)
            self.overhead_s, self.likely_overhead_s = self._overheads.high, self._overheads.middle
        self._last_answer = (finished_s, now_s)
