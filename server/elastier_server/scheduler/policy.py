"""Which batch runs now, and on which tier.

A policy is a function of the queue, the clock and the cost model; the server and a simulation call the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from elastier_server.inference import Reason, TierBounds
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.queue import DeadlineQueue, Ticket
from elastier_server.scheduler.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision depends on; the queue is not empty, and its head can still be answered in time."""

    now_s: float
    queue: DeadlineQueue
    cost: CostModel
    traffic: Traffic
    utility: Sequence[float]
    """Quality of each tier, 0 for a useless answer, 1 for the largest tier."""
    max_batch_rows: int

    def slack_s(self, ticket: Ticket) -> float:
        """Time left for a run, if this request is to be answered in time."""
        return ticket.deadline_s - self.now_s - self.cost.overhead_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A batch to run, and why on this tier."""

    tickets: tuple[Ticket, ...]
    tier: int
    rows: int
    predicted_s: float
    reason: Reason


class Policy(Protocol):
    """Chooses the next batch."""

    def choose(self, situation: Situation) -> Decision:
        """Decide what runs now; the head of the queue is always in the batch."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tickets that can run together: their bounds have a tier in common."""

    tickets: tuple[Ticket, ...]
    rows: int
    bounds: TierBounds


def joined(situation: Situation, most: int | None = None) -> Batch:
    """The head and those after it, earliest deadline first, that can share its run; at most `most` tickets."""
    tickets: list[Ticket] = []
    rows, lowest, highest = 0, 0, situation.cost.tiers - 1
    for ticket in situation.queue:
        low, high = max(lowest, ticket.bounds.lowest), min(highest, ticket.bounds.highest)
        if tickets and (low > high or rows + ticket.rows > situation.max_batch_rows):
            continue
        tickets.append(ticket)
        rows, lowest, highest = rows + ticket.rows, low, high
        if len(tickets) == most:
            break
    return Batch(tickets=tuple(tickets), rows=rows, bounds=TierBounds(lowest=lowest, highest=highest))


def best_tier(situation: Situation, batch: Batch, within_s: float) -> int | None:
    """The largest tier of the batch's bounds that will hardly take longer than `within_s`, or None."""
    for tier in range(batch.bounds.highest, batch.bounds.lowest - 1, -1):
        if situation.cost.high_s(tier, batch.rows) <= within_s:
            return tier
    return None


def decide(situation: Situation, batch: Batch, tier: int, reason: Reason) -> Decision:
    """A decision with its prediction."""
    return Decision(
        tickets=batch.tickets,
        tier=tier,
        rows=batch.rows,
        predicted_s=situation.cost.high_s(tier, batch.rows),
        reason=reason,
    )


def largest_reason(situation: Situation, tier: int) -> Reason:
    """Why the largest tier of a batch's bounds was taken."""
    return "largest_fits" if tier == situation.cost.tiers - 1 else "bounded"


def smallest_that_fits(situation: Situation) -> Decision:
    """When nothing fits the head's slack: its smallest tier, with as many others as cost no time it has."""
    head = situation.slack_s(situation.queue[0])
    batch = joined(situation, most=1)
    tier = batch.bounds.lowest
    return decide(
        situation, batch, tier, "deadline" if situation.cost.high_s(tier, batch.rows) <= head else "none_fits"
    )


class GreedyPolicy:
    """Everyone who waits joins; the largest tier that the tightest deadline allows."""

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        batch = joined(situation)
        tier = best_tier(situation, batch, situation.slack_s(situation.queue[0]))
        if tier is None:
            return smallest_that_fits(situation)
        at_top = tier == batch.bounds.highest
        return decide(situation, batch, tier, largest_reason(situation, tier) if at_top else "deadline")


class FixedPolicy:
    """One tier for all whose bounds allow it; what a server without tiers would do. The baseline."""

    def __init__(self, tier: int) -> None:
        self._tier = tier

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        slack_s = situation.slack_s(situation.queue[0])
        most = len(situation.queue)
        while True:
            batch = joined(situation, most)
            tier = min(max(self._tier, batch.bounds.lowest), batch.bounds.highest)
            if len(batch.tickets) == 1 or situation.cost.high_s(tier, batch.rows) <= slack_s:
                return decide(situation, batch, tier, "bounded")
            most = len(batch.tickets) // 2
