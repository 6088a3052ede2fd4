"""A model that answers: the scheduler decides, one worker thread runs, the event loop waits.

The worker takes its next batch by itself as soon as the last one ended: there is no timer, and no way round by
the event loop, while requests are being parsed there.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from elastier_contract.manifest import Manifest
from elastier_server.engine.engine import Engine, Tensors
from elastier_server.errors import DeadlineExceededError, InferenceError, NotReadyError, ServerError
from elastier_server.inference import InferRequest, InferResult, ServingEvents
from elastier_server.scheduler.policy import Decision
from elastier_server.scheduler.queue import Ticket
from elastier_server.scheduler.scheduler import Scheduler

log = logging.getLogger(__name__)


class _Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who waits for a ticket's answer."""

    request: InferRequest
    answer: asyncio.Future[InferResult]


class ServedModel:
    """One version of a model; satisfies `Model`. All of its methods are called on one event loop."""

    def __init__(
        self, manifest: Manifest, engine: Engine, scheduler: Scheduler, events: ServingEvents
    ) -> None:
        self._manifest = manifest
        self._engine = engine
        self._scheduler = scheduler
        self._events = events
        self._wake = threading.Condition()
        self._worker = threading.Thread(target=self._work, name=f"engine {manifest.name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taking = False
        self._stopping = False
        self._running: tuple[Ticket, ...] = ()
        self._idle = asyncio.Event()

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._manifest

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._taking

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return self._scheduler.waiting

    def start(self) -> None:
        """Take requests from now on."""
        self._loop = asyncio.get_running_loop()
        self._worker.start()
        self._taking = True

    async def infer(self, request: InferRequest) -> InferResult:
        """See `Model`."""
        if self._loop is None:
            raise self._not_taking()
        caller = _Caller(request=request, answer=self._loop.create_future())
        ticket = Ticket(
            deadline_s=request.deadline_s,
            arrival_s=request.arrival_s,
            rows=request.rows,
            bounds=request.bounds,
            payload=caller,
        )
        with self._wake:
            if not self._taking:  # a worker that dies says so under this lock: nobody queues after it
                raise self._not_taking()
            self._scheduler.offer(ticket, time.perf_counter())
            self._wake.notify()
        try:
            return await caller.answer
        except asyncio.CancelledError:
            with self._wake:
                if self._scheduler.withdraw(ticket):
                    self._events.cancelled()
            raise

    def answered(self, result: InferResult, now_s: float) -> None:
        """See `Model`."""
        with self._wake:
            self._scheduler.cost.observe_answer(result.finished_s, now_s)

    async def drain(self, timeout_s: float, *, last_run_s: float = 5.0) -> None:
        """Take no more requests, answer those that wait, and stop.

        Those who still wait after `timeout_s` get an error; those whose run has not ended `last_run_s` later, too.
        """
        self._taking = False
        if self._loop is None:
            return
        with self._wake:
            if self._scheduler.idle:
                self._idle.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("model %s: %d requests were given up", self._manifest.name, self.waiting)
        await self._stop(last_run_s)

    def _not_taking(self) -> NotReadyError:
        self._events.shed("draining")
        return NotReadyError(f"model {self._manifest.name!r} takes no requests: it is loading or stopping")

    async def _stop(self, last_run_s: float) -> None:
        stopped = NotReadyError(f"model {self._manifest.name!r} was stopped")
        with self._wake:
            self._stopping = True
            abandoned = self._scheduler.abandon()
            self._wake.notify()
        self._fail(abandoned, stopped)
        await asyncio.to_thread(self._worker.join, last_run_s)
        if self._worker.is_alive():
            log.error("model %s: its last run did not end within %g s", self._manifest.name, last_run_s)
            self._fail(self._running, stopped)

    def _work(self) -> None:
        """The worker: run what the scheduler says until told to stop; a fault of ours ends it, loudly."""
        try:
            while self._run_next():
                pass
        except Exception:
            log.exception("the worker of model %s failed", self._manifest.name)
            with self._wake:
                self._taking = False
                abandoned = [*self._running, *self._scheduler.abandon()]
            self._post(self._fail, abandoned, InferenceError("the worker of this model failed; see the log"))

    def _run_next(self) -> bool:
        """Run one batch, or answer those who are too late; False if told to stop."""
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or not self._scheduler.idle)
            now_s = time.perf_counter()
            expired = self._scheduler.expire(now_s)
            if expired:
                self._post(self._expire, expired)
            decision = self._scheduler.dispatch(now_s)
            self._running = decision.tickets if decision is not None else ()
        if decision is not None:
            self._run(decision)
            self._running = ()
        return not self._stopping

    def _run(self, decision: Decision) -> None:
        callers: list[_Caller] = [ticket.payload for ticket in decision.tickets]
        begun_s = time.perf_counter()
        try:
            outputs = self._engine.run(decision.tier, _join([caller.request.inputs for caller in callers]))
            _check_rows(outputs, decision.rows)
        except Exception as error:  # whatever the engine raises, the next batch is run
            with self._wake:
                self._scheduler.failed()
            log.exception("tier %d of model %s failed", decision.tier, self._manifest.name)
            self._post(self._fail, decision.tickets, InferenceError(f"the engine failed: {error}"))
            return
        finished_s = time.perf_counter()
        with self._wake:
            self._scheduler.ran(decision, finished_s - begun_s, finished_s)
        self._post(self._deliver, decision, callers, outputs, begun_s, finished_s)

    def _post(self, call: Any, *arguments: Any) -> None:
        """Call a method on the event loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _deliver(
        self,
        decision: Decision,
        callers: list[_Caller],
        outputs: Tensors,
        begun_s: float,
        finished_s: float,
    ) -> None:
        start = 0
        for caller in callers:
            end = start + caller.request.rows
            if not caller.answer.done():
                caller.answer.set_result(
                    InferResult(
                        outputs={name: array[start:end] for name, array in outputs.items()},
                        tier=decision.tier,
                        reason=decision.reason,
                        queue_s=begun_s - caller.request.arrival_s,
                        predicted_s=decision.predicted_s,
                        compute_s=finished_s - begun_s,
                        finished_s=finished_s,
                        batch_rows=decision.rows,
                    )
                )
            start = end
        self._events.ran(
            tier=decision.tier,
            requests=len(callers),
            rows=decision.rows,
            compute_s=finished_s - begun_s,
            predicted_s=decision.predicted_s,
        )
        self._events.slowdown_changed(self._scheduler.cost.slowdown)
        self._note_idle()

    def _expire(self, tickets: tuple[Ticket, ...]) -> None:
        for _ in tickets:
            self._events.expired()
        self._fail(tickets, DeadlineExceededError("the deadline passed while the request waited"))

    def _fail(self, tickets: Iterable[Ticket], error: ServerError) -> None:
        for ticket in tickets:
            answer = ticket.payload.answer
            if not answer.done():
                answer.set_exception(error)
        self._note_idle()

    def _note_idle(self) -> None:
        if not self._taking and self._scheduler.idle:
            self._idle.set()


def _join(inputs: list[Tensors]) -> Tensors:
    """The rows of all requests in one batch."""
    if len(inputs) == 1:
        return inputs[0]
    joined: dict[str, NDArray[Any]] = {
        name: np.concatenate([tensors[name] for tensors in inputs]) for name in inputs[0]
    }
    return joined


def _check_rows(outputs: Tensors, rows: int) -> None:
    """Each caller's rows are cut out by their place: too few would give one caller the answers of another."""
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise InferenceError(f"output {name!r}: expected {rows} rows first, got shape {array.shape}")
