"""The default policy: the best answers for those who wait, unless that makes others late.

Plain greedy on slack gives a patient caller a long run, and a tight one who comes meanwhile is late. A fixed guard
(the tightest recent budget) prevents that, but where a quarter of the callers is tight it holds everybody down to
the smallest tier, idle or not. So the guard here is a price: the callers that a run of this length is expected to
make late, by how many came during recent runs and how long they could have waited.
"""

from collections.abc import Sequence

import msgspec

from elastier_server.scheduler.policy import (
    Batch,
    Decision,
    Situation,
    batches,
    best_tier,
    decide,
    largest_reason,
    none_fits,
)

HARM_WEIGHT = 2.0
"""What making a caller late counts, in answers by the largest tier."""


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    batch: Batch
    tier: int
    value: float
    guarded: bool
    """Whether the price, not the deadline, ruled out a larger tier."""


class GuardedPolicy:
    """Weighs the quality for those who wait against the callers that a long run would make late."""

    def choose(self, situation: Situation) -> Decision:
        """See `Policy`."""
        found = batches(situation)
        plans = [plan for batch in found if (plan := _plan(situation, batch)) is not None]
        if not plans:
            return none_fits(situation, found)
        # Of equals the largest batch, which comes last: it costs the machine least.
        best = max(reversed(plans), key=lambda plan: plan.value)
        if best.tier == best.batch.bounds.highest:
            return decide(situation, best.batch, best.tier, largest_reason(situation, best.tier))
        return decide(situation, best.batch, best.tier, "guard" if best.guarded else "deadline")


def _plan(situation: Situation, batch: Batch) -> _Plan | None:
    """The best tier for a batch, and what it is worth to all who wait; None if nothing fits."""
    largest = best_tier(situation, batch)
    if largest is None:
        return None
    left = len(situation.queue) - len(batch.tickets)
    left_rows = min(situation.queue.rows - batch.rows, situation.max_batch_rows)
    left_s = [situation.cost.high_s(tier, left_rows) for tier in range(situation.cost.tiers)] if left else []
    slack_s = situation.slack_s(batch.next) if batch.next is not None else 0.0
    values = {}
    for tier in range(largest, batch.bounds.lowest - 1, -1):
        run_s = situation.cost.high_s(tier, batch.rows)
        value = len(batch.tickets) * situation.utility[tier]
        value += left * _next_utility(situation.utility, left_s, slack_s - run_s)
        values[tier] = value - HARM_WEIGHT * situation.traffic.expected_harm(run_s)
    tier = max(values, key=values.__getitem__)
    return _Plan(batch=batch, tier=tier, value=values[tier], guarded=tier < largest)


def _next_utility(utility: Sequence[float], runs_s: Sequence[float], slack_s: float) -> float:
    """Utility of the tier that those left get if they run next as one batch; negative if that is too late."""
    for tier in range(len(runs_s) - 1, -1, -1):
        if runs_s[tier] <= slack_s:
            return utility[tier]
    return 1.0 - HARM_WEIGHT
