"""Load tests as they run: a generator in its own process against a server that does as it is told."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from elastier_contract.bundle import Bundle
from elastier_loadtest.errors import (
    LoadTestError,
    ServerMismatchError,
    ServerUnreachableError,
)
from elastier_loadtest.launch import run_load_test
from elastier_loadtest.report import Report
from elastier_loadtest.scenario import make_scenario
from support.fake_server import Asked, FakeServer, Reply, fake_server

pytestmark = pytest.mark.slow


def load(server: FakeServer, bundle: Bundle, **options: Any) -> Report:
    usual = {"rate": 100.0, "seconds": 1.5, "warm_up_s": 0.3, "rows": 3, "timeout_s": 3.0}
    report, _ = run_load_test(make_scenario(url=server.url, bundle=bundle.path, **usual | options))
    return report


def test_a_good_server_is_reported_as_good(tiny_bundle: Bundle) -> None:
    told: list[tuple[str, float, float]] = []
    with fake_server(lambda asked: Reply(tier="w4" if asked.budget_ms < 5 else "w64")) as server:
        scenario = make_scenario(
            url=server.url, bundle=tiny_bundle.path, rate=200, seconds=1.5, warm_up_s=0.5, rows=3
        )
        report, records = run_load_test(
            scenario, lambda task, done, total, _: told.append((task, done, total))
        )
    assert report.ok
    assert len(records) == len(server.asked) > 300
    assert report.overall.requests == report.overall.answered
    assert report.overall.met == 1.0
    assert [figures.tier_shares for figures in report.budgets] == [{"w4": 1.0}] * 2 + [{"w64": 1.0}] * 2
    assert report.overall.effective_accuracy == pytest.approx((2 / 3 + 1) / 2, abs=0.01)
    assert {asked.rows for asked in server.asked} == {3}
    assert told[-1] == ("load", 2.0, 2.0)


def test_a_stall_shows_although_closed_loop_clients_beside_it_see_none(tiny_bundle: Bundle) -> None:
    def stalling(asked: Asked) -> Reply:
        within_s = asked.since_start_s % 2.0
        return Reply(delay_s=max(0.0, 2.0 - within_s) if within_s > 1.4 else 0.0)

    with fake_server(stalling) as server:
        report = load(server, tiny_bundle, rate=100, seconds=4, warm_up_s=0)
    with fake_server(stalling) as server:
        closed_p99_ms = closed_loop_p99_ms(server, seconds=4)
    assert report.overall.latency_ms is not None
    assert report.overall.latency_ms.p99 > 400
    assert report.overall.latency_ms.p90 > 200
    assert report.ok
    assert closed_p99_ms < 100


def closed_loop_p99_ms(server: FakeServer, seconds: float) -> float:
    """Latency as a client sees it that waits for each answer before it asks again."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    latencies_ms, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        connection.request("POST", "/v1/predict", json.dumps({"rows": [{}], "budget_ms": 5.0}))
        connection.getresponse().read()
        latencies_ms.append((time.perf_counter() - start) * 1e3)
    connection.close()
    return float(np.quantile(latencies_ms, 0.99))


def test_refusals_are_not_met_but_no_errors(tiny_bundle: Bundle) -> None:
    def refusing(asked: Asked) -> Reply:
        return Reply(status={1.0: 429, 3.0: 504}.get(asked.budget_ms, 200))

    with fake_server(refusing) as server:
        report = load(server, tiny_bundle)
    one, three, ten, fifty = report.budgets
    assert (one.refused, one.met, one.effective_accuracy) == ({"429": one.requests}, 0.0, 0.0)
    assert (three.refused, three.met) == ({"504": three.requests}, 0.0)
    assert (ten.met, fifty.met) == (1.0, 1.0)
    assert report.ok


def test_wrong_answers_are_counted_and_shown(tiny_bundle: Bundle) -> None:
    def wrong(asked: Asked) -> Reply:
        return Reply(
            tier="w5" if asked.number % 2 else "w4", score=float("nan") if asked.number % 4 == 2 else 0.5
        )

    with fake_server(wrong) as server:
        report = load(server, tiny_bundle)
    asked = len(server.asked)
    assert report.violations["unknown tier 'w5'"] == asked // 2
    assert report.violations["output 'logits' holds a number that is not finite"] == (asked + 1) // 4
    assert not report.ok
    assert len(report.violation_examples) == 20


def test_a_server_that_dies_midway_leaves_a_report_with_its_errors(tiny_bundle: Bundle) -> None:
    with fake_server(lambda asked: Reply(die=asked.number == 80)) as server:
        report = load(server, tiny_bundle)
    assert 0 < report.overall.answered < report.overall.requests
    assert sum(report.overall.errors.values()) == report.overall.requests - report.overall.answered
    assert any(error.startswith("ConnectionRefusedError") for error in report.overall.errors)
    assert not report.ok


def test_an_answer_that_never_comes_is_a_timeout(tiny_bundle: Bundle) -> None:
    with fake_server(lambda asked: Reply(delay_s=30.0 if asked.number == 20 else 0.0)) as server:
        report = load(server, tiny_bundle, warm_up_s=0, timeout_s=0.5)
    (error,) = report.overall.errors
    assert report.overall.errors[error] == 1
    assert "timed out" in error


def test_payloads_of_a_file_go_to_predict_and_need_no_bundle(tmp_path: Path) -> None:
    file = tmp_path / "bodies.jsonl"
    file.write_text('{"rows": [{"distance": 1}]}\n{"rows": [{"distance": 2}, {"distance": 3}]}\n')
    with fake_server() as server:
        scenario = make_scenario(
            url=server.url, payloads=file, rate=100, seconds=1, warm_up_s=0, budgets_ms=(7,)
        )
        report, _ = run_load_test(scenario)
    assert report.ok
    assert report.overall.effective_accuracy is None
    assert {(asked.path, asked.budget_ms) for asked in server.asked} == {("/v1/predict", 7.0)}
    assert {asked.rows for asked in server.asked} == {1, 2}


def test_a_share_of_capacity_is_a_share_of_what_the_server_does_in_time(tiny_bundle: Bundle) -> None:
    def one_at_a_time(asked: Asked) -> Reply:
        time.sleep(0.02)  # holds the server's loop: 50 answers a second, however many ask
        return Reply(server_ms=20.0)

    with fake_server(one_at_a_time) as server:
        report = load(server, tiny_bundle, rate=None, fraction_of_capacity=0.5, budgets_ms=(50.0, 60.0))
    assert report.capacity is not None
    assert 30 < report.capacity.rate < 50
    assert report.rate == pytest.approx(report.capacity.rate / 2)
    assert report.ok


def test_no_capacity_is_an_error_that_says_what_came_instead(tiny_bundle: Bundle) -> None:
    with (
        fake_server(lambda _: Reply(status=429)) as server,
        pytest.raises(LoadTestError, match=r"to answer in time at some load, got none .* refused a second"),
    ):
        load(server, tiny_bundle, rate=None, fraction_of_capacity=0.5)


def test_no_server_is_one_line(tiny_bundle: Bundle) -> None:
    with fake_server() as server:
        pass
    with pytest.raises(ServerUnreachableError, match=f"expected a server at {server.url}, .*refused"):
        load(server, tiny_bundle)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ready": False}, "expected a ready server at .*, got status 503"),
        ({"model": "other"}, "to serve model 'tiny', got status 404"),
        ({"version": "2"}, r"expected version '1' of 'tiny', the bundle's, but the server has \['2'\]"),
    ],
)
def test_a_server_of_something_else_is_not_loaded(
    tiny_bundle: Bundle, fields: dict[str, Any], message: str
) -> None:
    with fake_server(**fields) as server, pytest.raises(ServerMismatchError, match=message):
        load(server, tiny_bundle)
    assert server.asked == []


def test_an_interrupt_ends_the_load_with_the_report_so_far(tiny_bundle: Bundle, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from elastier_loadtest.scenario import make_scenario;"
        "from elastier_loadtest.launch import run_load_test, write_results;"
        "url, bundle, out = sys.argv[1:];"
        "scenario = make_scenario(url=url, bundle=Path(bundle), rate=100, seconds=60, warm_up_s=0);"
        "write_results(Path(out), *run_load_test(scenario))"
    )
    out = tmp_path / "out"
    process: list[subprocess.Popen[bytes]] = []

    def interrupting(asked: Asked) -> Reply:
        if asked.number == 50:
            os.kill(process[0].pid, signal.SIGINT)
        return Reply()

    with fake_server(interrupting) as server:
        command = [sys.executable, "-c", program, server.url, str(tiny_bundle.path), str(out)]
        process.append(subprocess.Popen(command))
        assert process[0].wait(timeout=30) == 0
    report = Report.model_validate_json((out / "report.json").read_bytes())
    assert report.interrupted
    assert report.ok
    assert report.seconds < 10
    lines = (out / "requests.jsonl").read_text().splitlines()
    assert len(lines) == len(server.asked) >= 50
    assert json.loads(lines[0])["tier"] == "w64"


def test_nothing_of_locust_or_gevent_reaches_the_process_that_asks() -> None:
    program = (
        "import sys, elastier_loadtest.launch, elastier_loadtest.table;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'locust', 'gevent', 'torch', 'onnx'}))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
