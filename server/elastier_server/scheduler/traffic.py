"""Who comes while a run is under way: what a long run costs those who are not here yet."""

from bisect import bisect_left, insort
from collections import deque

_WINDOW_RUNS = 64
_MAX_ARRIVALS = 256


class Traffic:
    """Remembers the recent runs, and how long each caller who came during one could have waited.

    Only arrivals during a run count. A client that waits for its answer before it asks again is never kept
    waiting by a long run, however often it asks.
    """

    def __init__(self) -> None:
        self._runs: deque[tuple[float, int]] = deque()
        """How long each run took, and how many came during it."""
        self._patience_s: deque[float] = deque()
        self._ordered_s: list[float] = []
        """The same patience ascending: a decision asks for the harm of many lengths."""
        self._arrived = 0
        self._counted = 0
        self._busy_s = 0.0

    def arrived(self, patience_s: float) -> None:
        """A caller came during a run; it could have waited that long and still be answered in time."""
        self._arrived += 1
        self._patience_s.append(patience_s)
        insort(self._ordered_s, patience_s)
        if len(self._patience_s) > _MAX_ARRIVALS:
            self._forget()

    def ran(self, seconds: float) -> None:
        """A run ended."""
        self._runs.append((seconds, self._arrived))
        self._counted += self._arrived
        self._busy_s += seconds
        self._arrived = 0
        if len(self._runs) > _WINDOW_RUNS:
            old_s, old = self._runs.popleft()
            self._counted -= old
            self._busy_s = max(0.0, self._busy_s - old_s)
        while len(self._patience_s) > self._counted:
            self._forget()

    def expected_harm(self, seconds: float) -> float:
        """Callers that a run of this length is expected to make late.

        One who comes u seconds after its start waits `seconds` − u: at a steady rate, that exceeds a patience p
        for rate · (seconds − p) callers.
        """
        late = bisect_left(self._ordered_s, seconds)
        if not late or self._busy_s <= 0:
            return 0.0
        # All arrivals are counted, but only the latest are remembered one by one.
        weight = max(self._counted / len(self._ordered_s), 1.0)
        return weight * (late * seconds - sum(self._ordered_s[:late])) / self._busy_s

    def _forget(self) -> None:
        del self._ordered_s[bisect_left(self._ordered_s, self._patience_s.popleft())]
