"""The default policy: the best answers for those who wait, unless that makes others late.

Plain greedy on slack gives a patient caller a long run, and a tight one who comes meanwhile is late. A fixed guard
(the tightest recent budget) prevents that, but where a quarter of the callers is tight it holds everybody down to
the smallest tier, idle or not. So the guard here is a price: the callers that a run of this length is expected to
make late, by how many came during recent runs and how long they could have waited.
"""

from dataclasses import dataclass

from elastier_server.scheduler.policy import (
    Batch,
    Decision,
    Situation,
    best_tier,
    decide,
    joined,
    largest_reason,
    smallest_that_fits,
)
from elastier_server.scheduler.queue import Ticket

HARM_WEIGHT = 2.0
"""What making a caller late counts, in answers by the largest tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    batch: Batch
    tier: int
    value: float
    guarded: bool
    """Whether the price, not the deadline, ruled out a larger tier."""


class GuardedPolicy:
    """Weighs the quality for those who wait against the callers that a long run would make late."""

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        plans = [
            plan for most in _sizes(len(situation.queue)) if (plan := _plan(situation, most)) is not None
        ]
        if not plans:
            return smallest_that_fits(situation)
        # Of equals the largest batch, which comes last: it costs the machine least.
        best = max(reversed(plans), key=lambda plan: plan.value)
        if best.tier == best.batch.bounds.highest:
            return decide(situation, best.batch, best.tier, largest_reason(situation, best.tier))
        return decide(situation, best.batch, best.tier, "guard" if best.guarded else "deadline")


def _sizes(queued: int) -> list[int]:
    """Batch sizes worth a look: powers of two, and all."""
    sizes = [1 << power for power in range(queued.bit_length())]
    return sizes if sizes[-1] == queued else [*sizes, queued]


def _plan(situation: Situation, most: int) -> _Plan | None:
    """The best tier for the first `most` tickets, and what it is worth to all who wait; None if nothing fits."""
    batch = joined(situation, most)
    chosen = set(map(id, batch.tickets))
    left = [ticket for ticket in situation.queue if id(ticket) not in chosen]
    within_s = situation.slack_s(batch.tickets[0])
    largest = best_tier(situation, batch, within_s)
    if largest is None:
        return None
    values = {
        tier: _value(situation, batch, left, tier) for tier in range(largest, batch.bounds.lowest - 1, -1)
    }
    tier = max(values, key=values.__getitem__)
    return _Plan(batch=batch, tier=tier, value=values[tier], guarded=tier < largest)


def _value(situation: Situation, batch: Batch, left: list[Ticket], tier: int) -> float:
    """Quality for the batch, and for those left if they run next as one batch, less the harm to callers to come."""
    run_s = situation.cost.high_s(tier, batch.rows)
    value = len(batch.tickets) * situation.utility[tier]
    if left:
        value += len(left) * _next_utility(situation, left, run_s)
    return value - HARM_WEIGHT * situation.traffic.expected_harm(run_s)


def _next_utility(situation: Situation, left: list[Ticket], run_s: float) -> float:
    """Utility of the tier that those left would get after a run; negative if their first would be late."""
    slack_s = situation.slack_s(left[0]) - run_s
    rows = min(sum(ticket.rows for ticket in left), situation.max_batch_rows)
    for tier in range(situation.cost.tiers - 1, -1, -1):
        if situation.cost.high_s(tier, rows) <= slack_s:
            return situation.utility[tier]
    return 1.0 - HARM_WEIGHT
