"""Who comes while a run is under way: what a long run costs those who are not here yet."""

from collections import deque

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

    def arrived(self, patience_s: float) -> None:
        """A caller came during a run; it could have waited that long and still be answered in time."""
        if patience_s >= 0:
            self._arrived += 1
            self._patience_s.append(patience_s)

    def ran(self, seconds: float) -> None:
        """A run ended."""
        self._runs_s.append(seconds)
        self._counts.append(self._arrived)
        self._arrived = 0
        while self._patience_s and len(self._patience_s) > sum(self._counts):
            self._patience_s.popleft()

    def expected_harm(self, seconds: float) -> float:
        """Callers that a run of this length is expected to make late.

        One who comes u seconds after its start waits `seconds` − u: at a steady rate, that exceeds a patience p
        for rate · (seconds − p) callers.
        """
        busy_s = sum(self._runs_s)
        if not self._patience_s or busy_s <= 0:
            return 0.0
        # All arrivals are counted, but only the latest are remembered one by one.
        weight = sum(self._counts) / len(self._patience_s)
        late_s = sum(seconds - patience_s for patience_s in self._patience_s if patience_s < seconds)
        return max(weight, 1.0) * late_s / busy_s
