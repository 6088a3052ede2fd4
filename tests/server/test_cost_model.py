"""What a run is predicted to take, after what was seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastier_server.scheduler.cost import CostModel, Recent
from support.simulation import TIERS, steep_profile


def make_cost() -> CostModel:
    return CostModel(steep_profile(), TIERS)


def test_rare_slow_runs_count_for_caution_and_not_for_what_is_likely() -> None:
    cost, fresh = make_cost(), make_cost()
    for number in range(50):
        factor = 3 if number % 5 == 0 else 1
        cost.observe_run(3, 1024, factor * fresh.profiled_s(3, 1024, "p50"), number / 50)
    assert cost.high_s(3, 1024) > 2.9 * fresh.high_s(3, 1024)
    assert cost.likely_s(3, 1024) == pytest.approx(fresh.likely_s(3, 1024))


def test_what_is_old_is_forgotten_unless_it_is_all_there_is() -> None:
    recent = Recent(1.0, high=0.9)
    assert (recent.high, recent.middle, recent.mean) == (1.0, 1.0, 1.0)
    for number in range(20):
        recent.add(9.0, number / 100)
    recent.add(2.0, 5.0)
    assert recent.high == 9.0
    for number in range(5):
        recent.add(2.0, 5.1 + number / 100)
    assert (recent.high, recent.middle, recent.mean) == (2.0, 2.0, 2.0)


def test_the_first_answer_of_a_batch_tells_the_overhead_and_the_others_the_gap() -> None:
    cost = make_cost()
    for now_s in (1.001, 1.002, 1.005):
        cost.observe_answer(1.0, now_s)
    assert cost.overhead_s == cost.likely_overhead_s == pytest.approx(0.001)
    assert cost.gap_s == pytest.approx(0.002)


@pytest.mark.parametrize(("slow", "heeded"), [(1, False), (4, True)])
def test_caution_heeds_what_would_make_more_late_than_the_target_allows(slow: int, heeded: bool) -> None:
    cost = make_cost()
    for number in range(200):
        finished_s = 1.0 + number / 400
        cost.observe_answer(finished_s, finished_s + (0.005 if number < slow else 0.0005))
    assert (cost.overhead_s > 0.004) is heeded
    assert cost.likely_overhead_s == pytest.approx(0.0005)


@given(st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 5)), min_size=1, max_size=40))
def test_quantiles_are_those_of_the_values_that_are_remembered(seen: list[tuple[float, int]]) -> None:
    recent = Recent(9.0, high=0.8, window=12)
    values: list[tuple[float, float]] = []
    now_s = 0.0
    for gap_s, value in seen:
        now_s += gap_s
        recent.add(value, now_s)
        values = [*values, (now_s, float(value))][-12:]
        while len(values) > 5 and values[0][0] < now_s - 1.0:
            values = values[1:]
        ordered = sorted(value for _, value in values)
        assert recent.high == ordered[int(0.8 * (len(ordered) - 1))]
        assert recent.middle == ordered[(len(ordered) - 1) // 2]
        assert recent.mean == pytest.approx(sum(ordered) / len(ordered))
