"""The locust users: one that makes open-loop load, and one that goes as fast as it is answered.

Importing locust patches the whole process (gevent), so only the generator's own process and locustfiles
import this module.
"""

import time
from typing import Any, ClassVar, cast

import gevent
from gevent.pool import Group
from locust import FastHttpUser, task
from locust.contrib.fasthttp import LocustBadStatusCode
from locust.exception import StopUser

from elastier_loadtest.arrivals import Arrivals
from elastier_loadtest.check import Expected, judge
from elastier_loadtest.payloads import RequestBody
from elastier_loadtest.plan import Plan
from elastier_loadtest.records import Record, Recorder

_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


class ElastierUser(FastHttpUser):
    """Sends planned requests, checks every answer and records what became of it."""

    abstract = True
    plan: ClassVar[Plan]
    expected: ClassVar[Expected] = Expected()
    recorder: ClassVar[Recorder]
    drain_s: ClassVar[float] = 5.0
    """How long the last requests may take once no more are sent."""

    def send(self, body: RequestBody, *, due: float, start: float) -> Record:
        """Send a request and wait for its answer.

        Args:
            body: What to send.
            due: When it was due, on the clock of `time.perf_counter`; latency is measured from here.
            start: When the load started, on the same clock.
        """
        record = Record(due_s=due - start, budget_ms=body.budget_ms, rows=body.rows)
        record.lag_ms = (time.perf_counter() - due) * 1e3
        self.recorder.begin()
        try:
            with self.client.post(
                body.path,
                data=cast(str, body.content),  # bytes are sent as they are, though locust's types say str
                name=f"budget {body.budget_ms:g} ms",
                headers=_HEADERS,
                catch_response=True,
            ) as response:
                record.latency_ms = (time.perf_counter() - due) * 1e3
                response.request_meta["response_time"] = record.latency_ms
                self._enter(record, body, response)
        finally:  # also where the load ends first: the record then says that it is unfinished
            self.recorder.end(record)
        return record

    def _enter(self, record: Record, body: RequestBody, response: Any) -> None:
        failure = response.request_meta["exception"]
        if failure is not None and not isinstance(failure, LocustBadStatusCode):
            record.error = _name_of(failure)
        else:
            judge(
                record,
                body,
                status=response.status_code,
                retry_after=response.headers.get("retry-after"),
                content=response.content or b"",
                expected=self.expected,
            )
        refusal = None if record.answered else f"http {record.status}"
        wrong = record.error or record.violation or refusal
        if wrong is None:
            response.success()
        else:
            response.failure(wrong)


class OpenLoopUser(ElastierUser):
    """Sends every request when it is due, whatever became of those before it."""

    abstract = True
    arrivals: ClassVar[Arrivals]
    duration_s: ClassVar[float]
    users: ClassVar[int] = 0

    def on_start(self) -> None:
        """Take a stream of requests of its own: two users never send the same sequence."""
        self.flying = Group()
        self.stream = type(self).users
        type(self).users += 1

    @task
    def offer(self) -> None:
        """Offer the whole load, then stop."""
        start = time.perf_counter()
        for request in self.plan.requests(self.arrivals, self.duration_s, self.stream):
            due = start + request.offset_s
            # Sleeping for no time still lets the others run when the client is behind.
            gevent.sleep(max(due - time.perf_counter(), 0))
            self.flying.spawn(self.send, request.body, due=due, start=start)
        raise StopUser

    def on_stop(self) -> None:
        """Wait for the last answers, but not for ever."""
        try:
            self.flying.join(timeout=self.drain_s)
        finally:
            self.flying.kill()


class ClosedLoopUser(ElastierUser):
    """Sends the next request as soon as the last one is answered; refused, it first waits out its budget."""

    abstract = True

    def on_start(self) -> None:
        """Take a stream of requests of its own."""
        self.began = time.perf_counter()
        self.choices = self.plan.choices(stream=id(self) % 2**32)

    @task
    def ask(self) -> None:
        """Send one request."""
        body = next(self.choices)
        record = self.send(body, due=time.perf_counter(), start=self.began)
        if not record.answered:
            # A caller that is refused at once and asks again at once would only measure refusing.
            gevent.sleep(body.budget_ms / 1e3)


def _name_of(failure: Exception) -> str:
    reason = getattr(failure, "strerror", None) or str(failure)
    return f"{type(failure).__name__}: {reason}" if reason else type(failure).__name__
