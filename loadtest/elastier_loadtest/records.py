"""What became of every request."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

UNFINISHED = "unfinished"
"""The error of a request that still had no answer when the load test ended."""


@dataclass(slots=True, kw_only=True)
class Record:
    """One request; times in milliseconds count from the moment it was due, not from when it was sent."""

    due_s: float
    """When it was due, in seconds from the start of the load."""
    budget_ms: float
    rows: int
    lag_ms: float = 0.0
    """How much later than due the client began to send it."""
    latency_ms: float | None = None
    """From due to answered, also where the answer was a refusal or an error."""
    status: int = 0
    """HTTP status, 0 if there was none."""
    error: str | None = UNFINISHED
    """None for an answer and for a refusal (429, 504); else the status or the transport's error."""
    tier: str | None = None
    reason: str | None = None
    server_ms: float | None = None
    met: bool = False
    """Whether the server said that the deadline was met."""
    violation: str | None = None
    """What is wrong with the answer."""

    @property
    def answered(self) -> bool:
        """Whether there were scores, in time or not."""
        return self.status == 200 and self.error is None

    @property
    def met_by_client(self) -> bool:
        """Whether scores came within the budget, by the client's clock from the moment they were due."""
        return self.answered and self.latency_ms is not None and self.latency_ms <= self.budget_ms


@dataclass(kw_only=True)
class Recorder:
    """Where users put their records; `live` is the number of requests under way."""

    records: deque[Record] = field(default_factory=deque)
    keep: bool = True
    """Off where locust counts by itself, for hours perhaps."""
    live: int = 0
    live_peak: int = 0

    def begin(self) -> None:
        """Note that a request is under way."""
        self.live += 1
        self.live_peak = max(self.live_peak, self.live)

    def end(self, record: Record) -> None:
        """Keep what became of it."""
        self.live -= 1
        if self.keep:
            self.records.append(record)


@dataclass(frozen=True, kw_only=True)
class CapacityStep:
    """One closed-loop run of the capacity measurement; rates are per second."""

    connections: int
    in_time: float
    answered: float
    refused: float
    errors: int
    cpu_share: float
    """Share of one core that the client itself used."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the generator hands over."""

    records: list[Record]
    rate: float
    arrivals: str
    elapsed_s: float
    """From the start of the load to its last arrival."""
    interrupted: bool
    live_peak: int
    cpu_share: float
    capacity: tuple[CapacityStep, ...] = ()

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Outcome":
        """Read what `dataclasses.asdict` and JSON made of an outcome."""
        return cls(
            **document
            | {
                "records": [Record(**record) for record in document["records"]],
                "capacity": tuple(CapacityStep(**step) for step in document["capacity"]),
            }
        )
