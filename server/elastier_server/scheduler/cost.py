"""What a run will take: the latency profile, corrected by what is observed.

All times are seconds.
"""

from collections import deque
from collections.abc import Sequence

from elastier_contract.profile import LatencyProfile, Quantile

_WINDOW = 50
_LEAST = 5
_JITTER_S = 1e-4
"""Added to both sides of a ratio: a cache miss must not look like a slow machine when a run takes 50 µs."""
_FIRST_OVERHEAD_S = 2e-4


class Recent:
    """The last values seen, at most `memory_s` old; where values are rare, the last few however old."""

    def __init__(
        self, first: float, *, high: float = 0.9, window: int = _WINDOW, memory_s: float = 1.0
    ) -> None:
        self.first = first
        self._high = high
        self._memory_s = memory_s
        self._seen: deque[tuple[float, float]] = deque(maxlen=window)
        self._ordered: list[float] | None = [first]

    def add(self, value: float, now_s: float) -> None:
        """See a value."""
        self._seen.append((now_s, value))
        while len(self._seen) > _LEAST and self._seen[0][0] < now_s - self._memory_s:
            self._seen.popleft()
        self._ordered = None

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
        return sum(value for _, value in self._seen) / len(self._seen) if self._seen else self.first

    def _quantile(self, share: float) -> float:
        if self._ordered is None:
            self._ordered = sorted(value for _, value in self._seen)
        return self._ordered[int(share * (len(self._ordered) - 1))]


class CostModel:
    """Predicts runs by the profile, scaled by one slow-down factor, and the time that answers take after a run."""

    def __init__(self, profile: LatencyProfile, tiers: Sequence[str]) -> None:
        self._profile = profile
        self._tiers = tuple(tiers)
        self._known: dict[tuple[int, int, Quantile], float] = {}
        self._ratios = Recent(1.0)
        self._overheads = Recent(_FIRST_OVERHEAD_S, high=0.98, window=200)
        self._gaps = Recent(0.0)
        self._last_answer = (0.0, 0.0)
        self._gap_s: float | None = None

    @property
    def tiers(self) -> int:
        """Number of tiers, 0 the cheapest."""
        return len(self._tiers)

    @property
    def slowdown(self) -> float:
        """Xi: observed to profiled latency, at least 1; one factor for all tiers."""
        return max(1.0, self._ratios.high)

    @property
    def overhead_s(self) -> float:
        """What it hardly takes longer from the end of a run until its first answer is ready to be sent."""
        return self._overheads.high

    @property
    def likely_overhead_s(self) -> float:
        """What that takes as often as not; while the event loop reads a large request, it is a lot longer."""
        return self._overheads.middle

    @property
    def gap_s(self) -> float:
        """From one answer of a batch to the next, on average: answers are written one by one."""
        if self._gap_s is None:
            self._gap_s = self._gaps.mean
        return self._gap_s

    def high_s(self, tier: int, rows: int) -> float:
        """What a run will hardly exceed: the profile's p95, scaled."""
        return self.profiled_s(tier, rows, "p95") * self.slowdown

    def likely_s(self, tier: int, rows: int) -> float:
        """What a run will take as often as not: the profile's p50, scaled by the median of what was observed."""
        return self.profiled_s(tier, rows, "p50") * max(1.0, self._ratios.middle)

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

    def observe_answer(self, finished_s: float, now_s: float) -> None:
        """See that an answer of the run that ended at `finished_s` is ready now."""
        run_s, before_s = self._last_answer
        if run_s == finished_s:
            self._gaps.add(now_s - before_s, now_s)
            self._gap_s = None
        else:
            self._overheads.add(now_s - finished_s, now_s)
        self._last_answer = (finished_s, now_s)
