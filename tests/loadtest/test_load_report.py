"""What the report says of its records."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from elastier_contract.bundle import Bundle
from elastier_contract.manifest import Manifest
from elastier_loadtest.capacity import CONNECTIONS, WARM_UP_S, best_step, capacity_step, next_connections
from elastier_loadtest.errors import CapacityError
from elastier_loadtest.records import CapacityStep, Outcome, Record
from elastier_loadtest.report import Report, build_report
from elastier_loadtest.scenario import make_scenario
from elastier_loadtest.table import report_view


def answer(due_s: float = 10.0, **fields: Any) -> Record:
    right = {"budget_ms": 5.0, "latency_ms": 2.0, "status": 200, "error": None, "tier": "w64", "met": True}
    return Record(**{"due_s": due_s, "rows": 1, "server_ms": 1.0} | right | fields)


def refusal(status: int, **fields: Any) -> Record:
    return answer(status=status, tier=None, server_ms=None, met=False, **fields)


def report_of(records: list[Record], manifest: Manifest | None, **outcome: Any) -> Report:
    scenario = make_scenario(
        url="http://127.0.0.1:1", bundle=Path("b"), rate=10, budgets_ms=(5.0, 50.0), warm_up_s=2
    )
    facts: dict[str, Any] = {"rate": 10, "arrivals": "poisson", "elapsed_s": 32.0, "interrupted": False}
    facts |= {"live_peak": 1, "cpu_share": 0.1}
    return build_report(scenario, Outcome(records=records, **facts | outcome), manifest)


def test_effective_accuracy_is_the_utility_served_in_time_over_all_requests(tiny_bundle: Bundle) -> None:
    records = [
        answer(tier="w64"),  # utility 1
        answer(tier="w4"),  # AUC 0.70 of 0.80 over chance 0.5: 2/3
        answer(tier="w64", latency_ms=9.0, server_ms=8.0, met=False),
        refusal(429),
    ]
    overall = report_of(records, tiny_bundle.manifest).overall
    assert overall.effective_accuracy == pytest.approx((1 + 2 / 3) / 4)
    assert overall.met == 0.5
    assert overall.tier_shares == pytest.approx({"w64": 2 / 3, "w4": 1 / 3})


def test_without_a_bundle_effective_accuracy_is_unknown_and_the_table_says_so() -> None:
    report = report_of([answer()], None)
    assert report.overall.effective_accuracy is None
    assert "no bundle tells what the tiers are worth" in shown(report)


def test_the_clients_clock_stands_beside_the_servers_word() -> None:
    overall = report_of([answer(latency_ms=5.5), answer(latency_ms=4.5)], None).overall
    assert (overall.met, overall.met_by_client) == (1.0, 0.5)


def test_refusals_and_errors_count_as_not_met_and_only_errors_are_not_ok() -> None:
    refused = report_of([answer(), refusal(429), refusal(504), refusal(429)], None)
    assert (refused.overall.met, refused.overall.refused) == (0.25, {"429": 2, "504": 1})
    assert refused.ok
    broken = report_of(
        [answer(), refusal(0, error="ConnectionRefusedError"), refusal(503, error="http 503")], None
    )
    assert broken.overall.errors == {"ConnectionRefusedError": 1, "http 503": 1}
    assert broken.overall.met == pytest.approx(1 / 3)
    assert not broken.ok


def test_the_warm_up_is_in_no_figure_but_its_wrong_answers_are_told() -> None:
    report = report_of([answer(due_s=1.9, violation="unknown tier 'x'"), answer(due_s=2.0)], None)
    assert report.overall.requests == 1
    assert report.seconds == 30.0
    assert report.violations == {"unknown tier 'x'": 1}
    assert report.violation_examples[0]["due_s"] == 1.9
    assert not report.ok


def test_each_budget_has_its_figures() -> None:
    records = [answer(latency_ms=1.0), answer(latency_ms=3.0), answer(budget_ms=50.0, met=False)]
    five, fifty = report_of(records, None).budgets
    assert (five.budget_ms, five.requests, five.met) == (5.0, 2, 1.0)
    assert (fifty.budget_ms, fifty.requests, fifty.met) == (50.0, 1, 0.0)
    assert five.latency_ms is not None
    assert (five.latency_ms.p50, five.latency_ms.max) == (2.0, 3.0)


def test_what_an_interrupt_cut_off_does_not_count_but_what_never_came_does() -> None:
    cut_off = Record(due_s=10.0, budget_ms=5.0, rows=1)
    interrupted = report_of([answer(), cut_off], None, interrupted=True)
    assert (interrupted.overall.requests, interrupted.ok) == (1, True)
    never = report_of([answer(), cut_off], None)
    assert (never.overall.errors, never.ok) == ({"unfinished": 1}, False)


def test_a_late_or_busy_client_is_told() -> None:
    report = report_of([answer(lag_ms=30.0)], None, cpu_share=0.97, live_peak=600)
    late, busy, waiting = report.client.warnings
    assert "30.0 ms late" in late
    assert "used up its core" in busy
    assert "600 requests were under way" in waiting
    assert report_of([answer(lag_ms=0.2)], None).client.warnings == ()


def test_no_requests_at_all_give_a_report_without_figures(tiny_bundle: Bundle) -> None:
    report = report_of([], tiny_bundle.manifest, interrupted=True)
    assert (report.overall.met, report.overall.latency_ms, report.overall.effective_accuracy) == (
        None,
        None,
        None,
    )
    assert "–" in shown(report)


def test_the_table_has_a_row_per_budget_and_the_shares_of_every_tier() -> None:
    text = shown(
        report_of([answer(), answer(budget_ms=50.0, tier="w4", violation="expected [/b] tags")], None)
    )
    rows = [line.split("│")[1].strip() for line in text.splitlines() if "│" in line]
    assert rows == ["5 ms", "50 ms", "all"] * 3
    assert "50.0%" in text
    assert "1 × expected [/b] tags" in text


def step(connections: int, in_time: float) -> CapacityStep:
    return CapacityStep(
        connections=connections, in_time=in_time, answered=in_time, refused=3.0, errors=0, cpu_share=0.2
    )


def test_capacity_is_the_best_of_the_steps_and_in_the_report() -> None:
    report = report_of([answer()], None, capacity=(step(4, 90.0), step(8, 100.0), step(16, 80.0)))
    assert report.capacity is not None
    assert (report.capacity.rate, report.capacity.connections) == (100.0, 8)
    assert "capacity: 100.0 requests a second with 8 connections" in shown(report)


def test_connections_double_until_that_gains_nothing() -> None:
    steps = [step(4, 50.0), step(8, 100.0), step(16, 102.0)]
    assert [next_connections(steps[:count]) for count in range(4)] == [4, 8, 16, None]
    doubling = [step(connections, connections) for connections in CONNECTIONS]
    assert next_connections(doubling) is None


def test_only_answers_in_time_after_the_warm_up_count_as_capacity() -> None:
    cut_off = Record(due_s=1.0, budget_ms=5.0, rows=1)
    records = [
        answer(due_s=0.1),
        answer(due_s=1.0),
        answer(due_s=1.5, met=False),
        refusal(429, due_s=1.2),
        cut_off,
    ]
    found = capacity_step(records, 4, WARM_UP_S + 2.0, cpu_share=0.5)
    assert (found.in_time, found.answered, found.refused, found.errors) == (0.5, 1.0, 0.5, 0)


def test_a_server_that_is_never_in_time_has_no_capacity() -> None:
    with pytest.raises(CapacityError, match=r"none \(4 connections: 0 late and 3 refused a second, 0 errors"):
        best_step([step(4, 0.0)], "http://x")


def shown(report: Report) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(report_view(report))
    return capture.get()
