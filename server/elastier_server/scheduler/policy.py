"""Which batch runs now, and on which tier.

A policy is a function of the queue, the clock and the cost model; the server and a simulation call the same.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from elastier_server.inference import Reason, TierBounds
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.queue import DeadlineQueue, Ticket
from elastier_server.scheduler.traffic import Traffic


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision depends on; the queue is not empty, and its head can still be answered in time."""

    now_s: float
    queue: DeadlineQueue
    cost: CostModel
    traffic: Traffic
    utility: Sequence[float]
    """Quality of each tier, 0 for a useless answer, 1 for the largest tier."""
    max_batch_rows: int

    def slack_s(self, ticket: Ticket) -> float:
        """Time left for a run, if this request is to be answered in time as the first of its batch."""
        return ticket.deadline_s - self.now_s - self.cost.overhead_s


class Decision(msgspec.Struct, frozen=True, kw_only=True):
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


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Tickets that can run together, earliest deadline first: their bounds have a tier in common."""

    tickets: tuple[Ticket, ...]
    rows: int
    bounds: TierBounds
    within_s: float
    """What the run may take, if all are to be answered in time, one after the other."""
    next: Ticket | None
    """The first of those that stay in the queue."""


def batches(situation: Situation) -> list[Batch]:
    """The batches worth a look: the head and those after it that can join, by powers of two, and all of them."""
    cost, gap_s = situation.cost, situation.cost.gap_s
    found: list[Batch] = []
    tickets: list[Ticket] = []
    passed: Ticket | None = None
    rows, lowest, highest, within_s = 0, 0, cost.tiers - 1, float("inf")

    def keep(after: Ticket | None) -> None:
        bounds = TierBounds(lowest=lowest, highest=highest)
        left = passed or after
        found.append(Batch(tickets=tuple(tickets), rows=rows, bounds=bounds, within_s=within_s, next=left))

    for ticket in situation.queue:
        low, high = max(lowest, ticket.bounds.lowest), min(highest, ticket.bounds.highest)
        count = len(tickets)
        if count and low > high:
            passed = passed or ticket
            continue
        if count and not count & (count - 1):
            keep(ticket)
        if count and rows + ticket.rows > situation.max_batch_rows:
            passed = passed or ticket
            break
        tickets.append(ticket)
        rows, lowest, highest = rows + ticket.rows, low, high
        within_s = min(within_s, situation.slack_s(ticket) - count * gap_s)
    if not found or len(found[-1].tickets) < len(tickets):
        keep(None)
    return found


def best_tier(situation: Situation, batch: Batch) -> int | None:
    """The largest tier of the batch's bounds that hardly makes anyone of it late, or None."""
    for tier in range(batch.bounds.highest, batch.bounds.lowest - 1, -1):
        if situation.cost.high_s(tier, batch.rows) <= batch.within_s:
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


def none_fits(situation: Situation, found: Sequence[Batch]) -> Decision:
    """When nothing surely fits the head's slack: its smallest tier, with as many others as still likely fit."""
    for batch in reversed(found):
        if situation.cost.likely_s(batch.bounds.lowest, batch.rows) <= batch.within_s:
            return decide(situation, batch, batch.bounds.lowest, "none_fits")
    return decide(situation, found[0], found[0].bounds.lowest, "none_fits")


class GreedyPolicy:
    """As many of those who wait as fit; the largest tier that their deadlines allow."""

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        found = batches(situation)
        for batch in reversed(found):
            tier = best_tier(situation, batch)
            if tier is not None:
                at_top = tier == batch.bounds.highest
                return decide(
                    situation, batch, tier, largest_reason(situation, tier) if at_top else "deadline"
                )
        return none_fits(situation, found)


class FixedPolicy:
    """One tier for all whose bounds allow it; what a server without tiers would do. The baseline."""

    def __init__(self, tier: int) -> None:
        self._tier = tier

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        found = batches(situation)
        fitting = (
            batch for batch in found if situation.cost.high_s(self._of(batch), batch.rows) <= batch.within_s
        )
        batch = max(fitting, key=lambda batch: batch.rows, default=found[0])
        return decide(situation, batch, self._of(batch), "bounded")

    def _of(self, batch: Batch) -> int:
        return min(max(self._tier, batch.bounds.lowest), batch.bounds.highest)
