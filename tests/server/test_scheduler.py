"""Admission, order and tier choice, in a time of their own."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastier_server.errors import OverloadedError, SettingsError
from elastier_server.inference import TierBounds
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.policies import policy_by_name
from elastier_server.scheduler.policy import Decision
from elastier_server.scheduler.queue import Ticket
from elastier_server.scheduler.scheduler import Scheduler
from elastier_server.scheduler.traffic import Traffic
from support.counting_events import CountingEvents
from support.simulation import TIERS, UTILITY, steep_profile

ALL = TierBounds(lowest=0, highest=len(TIERS) - 1)


def make_scheduler(policy: str = "guarded", queue: int = 64) -> tuple[Scheduler, CountingEvents]:
    events = CountingEvents()
    scheduler = Scheduler(
        policy_by_name(policy, TIERS),
        CostModel(steep_profile(), TIERS),
        utility=UTILITY,
        events=events,
        max_queue_requests=queue,
        max_batch_rows=1024,
    )
    return scheduler, events


def ticket(budget_ms: float, rows: int = 200, now_s: float = 0.0, bounds: TierBounds = ALL) -> Ticket:
    return Ticket(deadline_s=now_s + budget_ms / 1e3, arrival_s=now_s, rows=rows, bounds=bounds)


def decide(scheduler: Scheduler, now_s: float = 0.0) -> Decision:
    assert scheduler.expire(now_s) == ()
    decision = scheduler.dispatch(now_s)
    assert decision is not None
    return decision


@pytest.mark.parametrize(
    ("budget_ms", "tier", "reason"),
    [
        (50, "w512", "largest_fits"),
        (2.0, "w128", "deadline"),
        (1.0, "w32", "deadline"),
        (0.65, "w8", "deadline"),
    ],
)
def test_an_idle_server_gives_the_best_tier_that_the_budget_allows(
    budget_ms: float, tier: str, reason: str
) -> None:
    scheduler, _ = make_scheduler()
    scheduler.offer(ticket(budget_ms), 0.0)
    decision = decide(scheduler)
    assert (TIERS[decision.tier], decision.reason) == (tier, reason)


def test_bounds_of_the_request_decide_before_the_budget() -> None:
    scheduler, _ = make_scheduler()
    scheduler.offer(ticket(50, bounds=TierBounds(lowest=1, highest=1)), 0.0)
    decision = decide(scheduler)
    assert (decision.tier, decision.reason) == (1, "bounded")


def test_the_tier_is_chosen_at_dispatch_from_the_slack_that_is_left() -> None:
    scheduler, _ = make_scheduler()
    scheduler.offer(ticket(4), 0.0)
    assert TIERS[decide(scheduler, now_s=0.003).tier] == "w32"


def test_requests_with_bounds_that_exclude_each_other_never_share_a_run() -> None:
    scheduler, _ = make_scheduler()
    low, high = TierBounds(lowest=0, highest=0), TierBounds(lowest=3, highest=3)
    for bounds in (low, high, low):
        scheduler.offer(ticket(100, bounds=bounds), 0.0)
    first = decide(scheduler)
    scheduler.ran(first, 0.001, 0.001)
    second = decide(scheduler)
    assert {t.bounds for t in first.tickets} == {low}
    assert [t.bounds for t in second.tickets] == [high]


def test_a_budget_below_the_smallest_tier_is_refused_at_once() -> None:
    scheduler, events = make_scheduler()
    with pytest.raises(OverloadedError, match=r"even the smallest tier allowed would be late"):
        scheduler.offer(ticket(0.2), 0.0)
    assert events.counts == {"shed infeasible": 1}
    assert scheduler.idle


def test_a_request_that_would_wait_too_long_is_refused_with_the_time_to_come_back() -> None:
    scheduler, events = make_scheduler("greedy")
    scheduler.offer(ticket(4), 0.0)
    decide(scheduler)
    with pytest.raises(OverloadedError, match="with the wait") as refusal:
        scheduler.offer(ticket(1.0), 0.0)
    assert refusal.value.retry_after_s == pytest.approx(0.00286, rel=0.02)
    assert events.counts == {"shed overload": 1}


def test_a_full_queue_refuses() -> None:
    scheduler, events = make_scheduler(queue=2)
    for _ in range(2):
        scheduler.offer(ticket(1000, rows=1), 0.0)
    with pytest.raises(OverloadedError, match="2 requests wait already"):
        scheduler.offer(ticket(1000, rows=1), 0.0)
    assert events.counts == {"shed queue_full": 1}
    assert events.queue == (2, 2)


def test_what_can_no_longer_be_in_time_is_given_back_and_costs_no_run() -> None:
    scheduler, _ = make_scheduler()
    late, patient = ticket(1), ticket(100)
    for entry in (patient, late):
        scheduler.offer(entry, 0.0)
    assert scheduler.expire(0.002) == (late,)
    assert decide(scheduler, 0.002).tickets == (patient,)


def test_a_withdrawn_request_is_not_run() -> None:
    scheduler, events = make_scheduler()
    gone = ticket(50)
    scheduler.offer(gone, 0.0)
    assert scheduler.withdraw(gone)
    assert not scheduler.withdraw(gone)
    assert scheduler.dispatch(0.0) is None
    assert events.queue == (0, 0)


def test_a_slow_machine_scales_every_prediction_and_a_fast_one_none() -> None:
    cost = CostModel(steep_profile(), TIERS)
    before = cost.high_s(3, 200)
    for _ in range(50):
        cost.observe_run(0, 200, 2 * cost.profiled_s(0, 200, "p50"), 0.0)
    assert cost.high_s(3, 200) == pytest.approx(before * cost.slowdown)
    assert 1.7 < cost.slowdown < 2.0
    for _ in range(50):
        cost.observe_run(0, 200, 1e-6, 0.0)
    assert cost.slowdown == 1.0


def answered_after_hiccup(scheduler: Scheduler) -> int:
    answered = 0
    for number in range(100):
        now_s = 10.0 + number / 50
        with suppress(OverloadedError):
            scheduler.offer(ticket(2, now_s=now_s), now_s)
        scheduler.expire(now_s)
        decision = scheduler.dispatch(now_s)
        if decision is not None:
            answered += 1
            finished_s = now_s + scheduler.cost.profiled_s(decision.tier, decision.rows, "p50")
            scheduler.ran(decision, finished_s - now_s, finished_s)
            scheduler.cost.observe_answer(finished_s, finished_s + 1e-4)
    return answered


def test_one_bad_second_does_not_have_tight_callers_refused_for_ever() -> None:
    (slow, _), (stalled, _) = make_scheduler(), make_scheduler()
    for number in range(50):
        now_s = 9.0 + number / 50
        slow.cost.observe_run(0, 200, 0.1, now_s)
        stalled.cost.observe_answer(now_s - 0.1, now_s)
    assert answered_after_hiccup(slow) >= 50
    assert answered_after_hiccup(stalled) >= 50


def test_a_request_is_tried_only_if_the_profile_allows_it() -> None:
    scheduler, events = make_scheduler()
    scheduler.cost.observe_run(0, 200, 0.1, 0.0)
    with pytest.raises(OverloadedError):
        scheduler.offer(ticket(0.3, now_s=10.0), 10.0)
    scheduler.offer(ticket(1, now_s=10.0), 10.0)
    assert decide(scheduler, 10.0).reason == "none_fits"
    with pytest.raises(OverloadedError, match="even the smallest tier"):
        scheduler.offer(ticket(1, now_s=10.0), 10.0)
    assert events.counts == {"shed infeasible": 2}


def test_those_further_back_in_a_batch_are_answered_later_and_it_is_no_larger_than_that_allows() -> None:
    scheduler, _ = make_scheduler("greedy")
    for position in range(50):
        scheduler.cost.observe_answer(1.0, 1.0001 + 0.001 * position)
    assert scheduler.cost.gap_s == pytest.approx(0.001)
    assert scheduler.cost.overhead_s == pytest.approx(0.0001)
    for _ in range(16):
        scheduler.offer(ticket(6, rows=1), 0.0)
    # The fifth is answered 4 ms after the first, the ninth 8 ms: too late.
    assert len(decide(scheduler).tickets) == 4


def test_tight_callers_who_came_during_runs_make_long_runs_dear_and_others_do_not() -> None:
    traffic = Traffic()
    assert traffic.expected_harm(1.0) == 0.0
    for _ in range(20):
        traffic.arrived(patience_s=0.001)
        traffic.ran(0.002)
    assert traffic.expected_harm(0.001) == 0.0
    # 20 callers in 40 ms of runs: 500 a second, of whom those of the first 3 ms of 4 are late.
    assert traffic.expected_harm(0.004) == pytest.approx(500 * 0.003)
    for _ in range(64):
        traffic.ran(0.002)
    assert traffic.expected_harm(0.004) == 0.0


def test_the_guard_holds_patient_callers_down_only_while_tight_ones_come() -> None:
    scheduler, _ = make_scheduler()
    now_s = 0.0
    for _ in range(64):
        scheduler.offer(ticket(50, now_s=now_s), now_s)
        decision = decide(scheduler, now_s)
        with suppress(OverloadedError):
            scheduler.offer(ticket(2, now_s=now_s), now_s)
        scheduler.ran(decision, decision.predicted_s, now_s)
        now_s += 1.0
        scheduler.expire(now_s)
        assert scheduler.dispatch(now_s) is None
    scheduler.offer(ticket(50, now_s=now_s), now_s)
    guarded = decide(scheduler, now_s)
    assert (guarded.tier < 3, guarded.reason) == (True, "guard")
    scheduler.ran(guarded, guarded.predicted_s, now_s)
    for _ in range(64):
        now_s += 1.0
        scheduler.offer(ticket(50, now_s=now_s), now_s)
        decision = decide(scheduler, now_s)
        scheduler.ran(decision, decision.predicted_s, now_s)
    assert decision.reason == "largest_fits"


def test_an_unknown_policy_or_tier_is_named() -> None:
    with pytest.raises(SettingsError, match=r"one of \['guarded', 'greedy', 'fixed:TIER'\], got 'best'"):
        policy_by_name("best", TIERS)
    with pytest.raises(SettingsError, match=r"expected a tier, one of .*, got 'w9'"):
        policy_by_name("fixed:w9", TIERS)


REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 0.02),
        st.floats(0.3, 60),
        st.integers(1, 1024),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=30,
)


@given(REQUESTS, st.sampled_from(["guarded", "greedy", "fixed:w128"]))
@settings(deadline=None)
def test_whatever_comes_every_admitted_request_ends_once_within_its_bounds(
    requests: list[tuple[float, float, int, int, int]], policy: str
) -> None:
    scheduler, _ = make_scheduler(policy)
    admitted: list[Ticket] = []
    ended: list[Ticket] = []
    now_s = 0.0
    for gap_s, budget_ms, rows, one, other in requests:
        now_s += gap_s
        bounds = TierBounds(lowest=min(one, other), highest=max(one, other))
        entry = ticket(budget_ms, rows=rows, now_s=now_s, bounds=bounds)
        with suppress(OverloadedError):
            scheduler.offer(entry, now_s)
            admitted.append(entry)
        if gap_s >= 0.01:
            now_s += turn(scheduler, ended, now_s)
    while not scheduler.idle:
        now_s += turn(scheduler, ended, now_s)
    assert sorted(map(id, ended)) == sorted(map(id, admitted))


def turn(scheduler: Scheduler, ended: list[Ticket], now_s: float) -> float:
    ended.extend(scheduler.expire(now_s))
    decision = scheduler.dispatch(now_s)
    if decision is None:
        return 0.0
    ended.extend(check(decision, scheduler, now_s))
    scheduler.ran(decision, decision.predicted_s, now_s + decision.predicted_s)
    return decision.predicted_s


def check(decision: Decision, scheduler: Scheduler, now_s: float) -> tuple[Ticket, ...]:
    assert decision.tickets
    assert sum(t.rows for t in decision.tickets) == decision.rows <= 1024
    assert all(t.bounds.lowest <= decision.tier <= t.bounds.highest for t in decision.tickets)
    assert all(t.deadline_s > now_s for t in decision.tickets)
    deadlines = [t.deadline_s for t in decision.tickets]
    assert deadlines == sorted(deadlines)
    if decision.reason not in {"none_fits", "bounded"}:  # a fixed tier is never changed, however late
        assert now_s + decision.predicted_s <= deadlines[0]
    return decision.tickets
