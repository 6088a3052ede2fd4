"""The scheduler: admission, the queue, and what runs next. It has no thread and no clock of its own."""

from collections.abc import Sequence

from elastier_server.errors import OverloadedError
from elastier_server.inference import ServingEvents
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.policy import Decision, Policy, Situation
from elastier_server.scheduler.queue import DeadlineQueue, Ticket
from elastier_server.scheduler.traffic import Traffic

_PROBE_AFTER_S = 0.1
"""Without a run for so long, what was observed is no ground to refuse everybody."""


class Scheduler:
    """Decides for one engine that runs one batch at a time. Not thread-safe: its caller holds a lock."""

    def __init__(
        self,
        policy: Policy,
        cost: CostModel,
        *,
        utility: Sequence[float],
        events: ServingEvents,
        max_queue_requests: int,
        max_batch_rows: int,
    ) -> None:
        self.cost = cost
        self._policy = policy
        self._utility = tuple(utility)
        self._events = events
        self._max_queue_requests = max_queue_requests
        self._max_batch_rows = max_batch_rows
        self._queue = DeadlineQueue()
        self._traffic = Traffic()
        self._running_until_s: float | None = None
        self._ran_s = float("-inf")

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._queue and self._running_until_s is None

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return len(self._queue)

    def offer(self, ticket: Ticket, now_s: float) -> None:
        """Queue a request, or refuse it at once.

        Raises:
            OverloadedError: The queue is full, or even its smallest tier would be too late.
        """
        needed_s = self._needed_s(ticket)
        slack_s = ticket.deadline_s - now_s
        if self._running_until_s is not None and needed_s <= slack_s:
            # Cautious, as tier choice is: who could wait at the worst is who a long run does no harm.
            cautious_s = self.cost.high_s(ticket.bounds.lowest, ticket.rows) + self.cost.overhead_s
            self._traffic.arrived(max(0.0, slack_s - cautious_s))
        wait_s = self._wait_s(ticket, now_s)
        if len(self._queue) >= self._max_queue_requests:
            raise self._refusal("queue_full", f"{len(self._queue)} requests wait already", wait_s)
        ticket.probe = needed_s > slack_s and self._should_probe(ticket, slack_s, now_s)
        if needed_s > slack_s and not ticket.probe:
            text = f"expected a budget with {needed_s * 1e3:.3g} ms left, got {slack_s * 1e3:.3g} ms"
            raise self._refusal("infeasible", f"{text}: even the smallest tier allowed would be late", wait_s)
        if wait_s + needed_s > slack_s and not ticket.probe:
            text = (
                f"predicted {(wait_s + needed_s) * 1e3:.3g} ms with the wait, {slack_s * 1e3:.3g} ms are left"
            )
            raise self._refusal("overload", text, wait_s)
        self._queue.add(ticket)
        self._queue_changed()

    def expire(self, now_s: float) -> tuple[Ticket, ...]:
        """Take those out of the queue who can no longer be answered in time."""
        expired = []
        while self._queue and self._is_late(self._queue[0], now_s):
            ticket = self._queue[0]
            self._queue.remove(ticket)
            expired.append(ticket)
        if expired:
            self._queue_changed()
        return tuple(expired)

    def dispatch(self, now_s: float) -> Decision | None:
        """Take the next batch out of the queue, if there is one; the engine is free, and `expire` was called."""
        if not self._queue:
            return None
        decision = self._policy.choose(self._situation(now_s))
        for ticket in decision.tickets:
            self._queue.remove(ticket)
        self._running_until_s = now_s + decision.predicted_s
        self._queue_changed()
        return decision

    def ran(self, decision: Decision, seconds: float, now_s: float) -> None:
        """The engine ended a batch just now, and is free again."""
        self._running_until_s = None
        self._ran_s = now_s
        self._traffic.ran(seconds)
        self.cost.observe_run(decision.tier, decision.rows, seconds, now_s)

    def failed(self) -> None:
        """The engine failed on a batch, and is free again; what that took says nothing of the next."""
        self._running_until_s = None

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a request out of the queue because its client left; False if it is not in it any more."""
        found = self._queue.remove(ticket)
        if found:
            self._queue_changed()
        return found

    def abandon(self) -> list[Ticket]:
        """Take all requests out of the queue; the engine will not run again."""
        self._running_until_s = None
        tickets = self._queue.clear()
        self._queue_changed()
        return tickets

    def _situation(self, now_s: float) -> Situation:
        return Situation(
            now_s=now_s,
            queue=self._queue,
            cost=self.cost,
            traffic=self._traffic,
            utility=self._utility,
            max_batch_rows=self._max_batch_rows,
        )

    def _should_probe(self, ticket: Ticket, slack_s: float, now_s: float) -> bool:
        """Whether to try a request that seems too tight, since that is how to see that it is not.

        Only runs correct the estimates. If all callers are as tight as these, one bad second would have them
        all refused for ever.
        """
        idle_s = now_s - self._ran_s
        fits_s = self.cost.profiled_s(ticket.bounds.lowest, ticket.rows, "p95")
        return self.idle and idle_s > _PROBE_AFTER_S and fits_s <= slack_s

    def _is_late(self, ticket: Ticket, now_s: float) -> bool:
        """Whether a request would be answered late more often than not, even by its smallest tier at once."""
        if ticket.probe:
            return now_s > ticket.deadline_s
        return now_s + self._needed_s(ticket) > ticket.deadline_s

    def _needed_s(self, ticket: Ticket) -> float:
        """What even the smallest tier likely takes: less is refused, more gets that tier at least.

        A cautious bound here would refuse callers most of whom would have been answered in time.
        """
        likely_s = self.cost.likely_s(ticket.bounds.lowest, ticket.rows)
        return likely_s + self.cost.likely_overhead_s

    def _wait_s(self, ticket: Ticket, now_s: float) -> float:
        """Until the engine is free for this request: the running batch, then the earlier deadlines, at the least."""
        running_s = max(0.0, (self._running_until_s or now_s) - now_s)
        rows = self._queue.rows_before(ticket.deadline_s)
        whole, rest = divmod(rows, self._max_batch_rows)
        queued_s = whole * self.cost.high_s(0, self._max_batch_rows)
        return running_s + queued_s + (self.cost.high_s(0, rest) if rest else 0.0)

    def _refusal(self, reason: str, text: str, wait_s: float) -> OverloadedError:
        self._events.shed(reason)
        return OverloadedError(f"overloaded: {text}", retry_after_s=wait_s)

    def _queue_changed(self) -> None:
        self._events.queue_changed(requests=len(self._queue), rows=self._queue.rows)
