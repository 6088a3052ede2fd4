"""The hand-over inside the server: what the protocol asks of a model, and what it gets back.

What a request makes anew is a `msgspec.Struct`, or a dataclass that is not frozen: one that is sets its fields through
`object.__setattr__`, which takes three times as long.

All times are seconds on the server's monotonic clock (`time.perf_counter`), durations end in `_s`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec
from numpy.typing import NDArray

from elastier_contract.manifest import Manifest

Reason = Literal["largest_fits", "bounded", "deadline", "guard", "none_fits"]
"""Why a tier was chosen: the largest tier fits the deadline; the largest within the request's bounds does; a larger
one would be late; a larger one would keep tighter callers waiting; even the smallest may be late."""


class TierBounds(msgspec.Struct, frozen=True, kw_only=True):
    """The tiers a request may be given, as indices into the manifest's tiers, both ends included."""

    lowest: int
    highest: int


@dataclass(slots=True, kw_only=True)
class InferRequest:
    """One request, validated against the signature."""

    inputs: Mapping[str, NDArray[Any]]
    """Input name → array of the signature's dtype and shape."""
    rows: int
    arrival_s: float
    """When the request's first byte was seen: parsing counts against the budget."""
    deadline_s: float
    bounds: TierBounds
    priority: int = 0


@dataclass(slots=True, kw_only=True)
class InferResult:
    """One answer, with what it took."""

    outputs: Mapping[str, NDArray[Any]]
    """Output name → array with `rows` rows."""
    tier: int
    """Index into the manifest's tiers."""
    reason: Reason
    queue_s: float
    predicted_s: float
    """What the profile, scaled by xi, said that the run would take at p95."""
    compute_s: float
    finished_s: float
    """When the run ended."""
    batch_rows: int
    """Rows of the whole batch this request ran in."""


class Model(Protocol):
    """A served model of one version, as the protocol sees it."""

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        ...

    @property
    def ready(self) -> bool:
        """Whether every tier is warm and requests are taken."""
        ...

    async def infer(self, request: InferRequest) -> InferResult:
        """Queue a request and wait for its answer; cancelling the call takes it out of the queue.

        Raises:
            OverloadedError: Its deadline cannot be met even by the smallest tier, or the queue is full (429).
            DeadlineExceededError: It expired in the queue (504).
            NotReadyError: The model is not loaded, or drains (503).
            InferenceError: The engine failed (500).
        """
        ...

    def answered(self, result: InferResult, now_s: float) -> None:
        """Tell when an answer was ready to be sent, so that the next deadlines leave time for that."""
        ...


class ServingEvents(Protocol):
    """What the scheduler reports as it happens; `Metrics` listens."""

    def shed(self, reason: str) -> None:
        """A request was refused at arrival: `overload`, `queue_full`, `infeasible` or `draining`."""
        ...

    def expired(self) -> None:
        """A queued request's deadline passed before it was run."""
        ...

    def cancelled(self) -> None:
        """A queued request was dropped because its client left."""
        ...

    def ran(self, *, tier: int, requests: int, rows: int, compute_s: float, predicted_s: float) -> None:
        """A batch was run."""
        ...

    def queue_changed(self, *, requests: int, rows: int) -> None:
        """The queue's length after an arrival, a dispatch or a drop."""
        ...

    def slowdown_changed(self, xi: float) -> None:
        """The factor that scales the whole profile was estimated anew."""
        ...

    def loaded(self, *, shared: bool) -> None:
        """Tiers were opened; `shared` if they run on the weights in the bundle's file."""
        ...
