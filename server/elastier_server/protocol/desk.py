"""The way of a request through the server, the same for every dialect: read, assign, infer, answer, count."""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol

import msgspec
import numpy as np
from starlette.types import Receive, Scope, Send

from elastier_contract.errors import ElastierError
from elastier_server.errors import ClientGoneError, InferenceError, NotReadyError
from elastier_server.inference import InferRequest, InferResult
from elastier_server.lifecycle import Lifecycle
from elastier_server.metrics import Metrics, Outcome
from elastier_server.protocol.arms import Arms, Place
from elastier_server.protocol.asking import Ask, tier_bounds
from elastier_server.protocol.exchange import Exchange, respond
from elastier_server.protocol.presence import ClientPresent
from elastier_server.protocol.tensors import all_true
from elastier_server.settings import Settings
from elastier_server.state import Served

_OUTCOMES: Mapping[int, Outcome] = {429: "shed", 499: "cancelled", 503: "shed", 504: "expired"}


class Dialect(Protocol):
    """How one kind of request is read and answered."""

    def served(self, exchange: Exchange) -> Served | None:
        """The model, as far as it is known before the body is read."""
        ...

    def read(self, exchange: Exchange, body: bytes) -> Ask:
        """What the request asks for."""
        ...

    def render(self, ask: Ask, result: InferResult) -> bytes:
        """The answer as a JSON object, without what it took."""
        ...

    def join(self, answer: bytes, facts: bytes) -> bytes:
        """The answer and what it took, both JSON objects, as one."""
        ...


class Ending:
    """Counts how a request ended, once."""

    def __init__(self, metrics: Metrics, arrival_s: float) -> None:
        self._metrics = metrics
        self._arrival_s = arrival_s
        self._counted = False
        self.served: Served | None = None
        self.place: Place | None = None

    def answered(self, served: Served, result: InferResult, outcome: Outcome, duration_s: float) -> None:
        """It got its answer, in time or late."""
        self._counted = True
        served.metrics.answered(
            tier=result.tier, outcome=outcome, duration_s=duration_s, queue_s=result.queue_s
        )
        self._count_arm(outcome)

    def failed(self, outcome: Outcome) -> None:
        """It got none; an answer that was counted stays counted."""
        if self._counted:
            return
        self._counted = True
        if self.served is None:
            self._metrics.failed_before_model(outcome)
        else:
            self.served.metrics.failed(outcome, time.perf_counter() - self._arrival_s)
        self._count_arm(outcome)

    def _count_arm(self, outcome: Outcome) -> None:
        if self.place is not None:
            self._metrics.arm_requests.labels(self.place.experiment, self.place.arm, outcome).inc()


class Desk:
    """An ASGI endpoint that answers requests of one dialect."""

    def __init__(
        self, dialect: Dialect, *, settings: Settings, lifecycle: Lifecycle, metrics: Metrics, arms: Arms
    ) -> None:
        self._dialect = dialect
        self._settings = settings
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._arms = arms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors go on to the application's handler, once they are counted."""
        exchange = Exchange(scope, receive)
        ending = Ending(self._metrics, exchange.arrival_s)
        try:
            ending.served = self._dialect.served(exchange)
            await self._answer_unless_stopped(exchange, ending, send)
        except ClientGoneError:
            ending.failed("cancelled")
        except ElastierError as error:
            ending.failed(_OUTCOMES.get(error.status, "invalid" if error.status < 500 else "error"))
            raise
        except Exception:
            ending.failed("error")
            raise

    async def _answer_unless_stopped(self, exchange: Exchange, ending: Ending, send: Send) -> None:
        try:
            task = self._lifecycle.enter()
        except NotReadyError:
            if ending.served is not None:
                ending.served.metrics.shed("draining")
            raise
        try:
            await self._answer(exchange, ending, send)
        except asyncio.CancelledError:
            if not self._lifecycle.expired:
                raise
            task.uncancel()
            raise NotReadyError("the server was stopped before it had an answer") from None
        finally:
            self._lifecycle.leave(task)

    async def _answer(self, exchange: Exchange, ending: Ending, send: Send) -> None:
        body = await exchange.read_body(self._settings.max_body_bytes)
        ask = self._dialect.read(exchange, body)
        ending.served = ask.served
        bounds = tier_bounds(ask.wishes, ask.served)
        ending.place = place = self._arms.place(ask)
        request = InferRequest(
            inputs=ask.inputs,
            rows=ask.rows,
            arrival_s=exchange.arrival_s,
            deadline_s=exchange.arrival_s + ask.budget_ms / 1e3,
            bounds=bounds if place is None else place.bounds,
            priority=ask.wishes.priority,
        )
        async with ClientPresent(exchange.receive):
            result = await ask.served.model.infer(request)
        _check_finite(result)
        answer = self._dialect.render(ask, result)
        # Everything costly is done: only these few fields and the socket come after the clock is read.
        now_s = time.perf_counter()
        ask.served.model.answered(result, now_s)
        server_ms = round((now_s - exchange.arrival_s) * 1e3, 3)
        met = server_ms <= ask.budget_ms
        facts = msgspec.json.encode(_facts(ask, result, server_ms, met, place))
        ending.answered(ask.served, result, "met" if met else "late", server_ms / 1e3)
        await respond(send, HTTPStatus.OK, self._dialect.join(answer, facts))


def _facts(ask: Ask, result: InferResult, server_ms: float, met: bool, place: Place | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "tier": ask.served.tier_names[result.tier],
        "model_version": ask.served.manifest.version,
        "reason": result.reason,
        "queue_ms": round(result.queue_s * 1e3, 3),
        "predicted_ms": round(result.predicted_s * 1e3, 3),
        "compute_ms": round(result.compute_s * 1e3, 3),
        "server_ms": server_ms,
        "budget_ms": ask.budget_ms,
        "deadline_met": met,
    }
    if place is not None:
        facts |= {"experiment": place.experiment, "arm": place.arm}
    return facts


def _check_finite(result: InferResult) -> None:
    # JSON has no NaN: msgspec would write null, and a client would take it for a score.
    for name, values in result.outputs.items():
        if values.dtype.kind == "f" and not all_true(np.isfinite(values)):
            raise InferenceError(f"the model's output {name!r} is not finite")
