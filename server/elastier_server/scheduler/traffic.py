"""Who comes while a run is under way: what a long run costs those who are not here yet."""

from bisect import bisect_left
from collections import deque
from itertools import accumulate

_WINDOW_RUNS = 64
_MAX_ARRIVALS = 256


class Traffic:
    """Remembers the recent runs, and how long each caller who came during one could have waited.

    Only arrivals during a run count. A client that waits for its answer before it asks again is never kept
    waiting by a long run, however often it asks.
    """

    def __init__(self) -> None:
        self._runs_s: deque[float] = deque(maxlen=_WINDOW_RUNS)
        self._counts: deque[int] = deque(maxlen=_WINDOW_RUNS)
        self._patience_s: deque[float] = deque(maxlen=_MAX_ARRIVALS)
        self._arrived = 0
        self._busy_s = 0.0
        self._counted = 0
        self._sorted: tuple[list[float], list[float]] | None = None
        """Patience ascending, and its running sums: a decision asks for the harm of many lengths."""

    def arrived(self, patience_s: float) -> None:
        """A caller came during a run; it could have waited that long and still be answered in time."""
        self._arrived += 1
        self._patience_s.append(patience_s)
        self._sorted = None

    def ran(self, seconds: float) -> None:
        """A run ended."""
        self._runs_s.append(seconds)
        self._counts.append(self._arrived)
        self._arrived = 0
        self._busy_s, self._counted = sum(self._runs_s), sum(self._counts)
        while len(self._patience_s) > self._counted:
            self._patience_s.popleft()
            self._sorted = None

    def expected_harm(self, seconds: float) -> float:
        """Callers that a run of this length is expected to make late.

        One who comes u seconds after its start waits `seconds` − u: at a steady rate, that exceeds a patience p
        for rate · (seconds − p) callers.
        """
        if not self._patience_s or self._busy_s <= 0:
            return 0.0
        if self._sorted is None:
            ordered = sorted(self._patience_s)
            self._sorted = (ordered, [0.0, *accumulate(ordered)])
        ordered, sums = self._sorted
        late = bisect_left(ordered, seconds)
        # All arrivals are counted, but only the latest are remembered one by one.
        weight = max(self._counted / len(ordered), 1.0)
        return weight * (late * seconds - sums[late]) / self._busy_s
