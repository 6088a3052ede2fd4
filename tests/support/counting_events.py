"""A listener that counts what the scheduler reports."""

from collections import Counter


class CountingEvents:
    """Satisfies `ServingEvents`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.queue: tuple[int, int] = (0, 0)
        self.xi = 1.0

    def shed(self, reason: str) -> None:
        self.counts[f"shed {reason}"] += 1

    def expired(self) -> None:
        self.counts["expired"] += 1

    def cancelled(self) -> None:
        self.counts["cancelled"] += 1

    def ran(self, *, tier: int, requests: int, rows: int, compute_s: float, predicted_s: float) -> None:
        self.counts["runs"] += 1
        self.counts["requests run"] += requests

    def queue_changed(self, *, requests: int, rows: int) -> None:
        self.queue = (requests, rows)

    def slowdown_changed(self, xi: float) -> None:
        self.xi = xi

    def loaded(self, *, shared: bool) -> None:
        self.counts["shared" if shared else "not shared"] += 1
