"""The demo's requests against a server that does as it is told, and the report they end in."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from elastier_cli.demo.departures import Departures
from elastier_cli.demo.report import OneTierError, print_requests, write_report
from elastier_cli.demo.requests import Outcome, WrongAnswerError, send_requests
from elastier_contract.bundle import Bundle
from support.fake_server import Asked, Behaviour, Reply, fake_server

ROWS = 3
DEPARTURES = Departures(
    {
        "carrier": ["AA", "B6", "UA", "ZZ"] * 6,
        "hour": [5, 12, 23, 9] * 6,
        "distance": [0.1, 733.0, 2475.0, 1400.0] * 6,
        "wind_speed": [3.45, 10.0, 0.0, 7.5] * 6,
        "temperature": [39.02, 57.0, 80.1, 64.4] * 6,
    }
)


def ask(
    bundle: Bundle,
    behave: Behaviour = lambda _: Reply(),
    *,
    budgets_ms: tuple[float, ...] = (5.0,),
    count: int = 1,
) -> tuple[list[Outcome], list[Asked]]:
    with fake_server(behave) as server:
        sent = send_requests(
            server.url, bundle.manifest, DEPARTURES, budgets_ms=budgets_ms, count=count, rows=ROWS
        )
        return list(sent), server.asked


def answer(**changes: Any) -> dict[str, Any]:
    """A right answer to a request with a budget of 5 ms, but for the changes."""
    output = {"name": "logits", "datatype": "FP32", "shape": [ROWS, 1], "data": [0.25] * ROWS}
    parameters = {"tier": "w16", "reason": "largest_fits", "server_ms": 1.0, "deadline_met": True}
    for key, value in changes.items():
        (output if key in output else parameters)[key] = value
    return {"model_name": "tiny", "model_version": "1", "outputs": [output], "parameters": parameters}


def test_budgets_come_in_turn_and_reach_the_server_in_microseconds(tiny_bundle: Bundle) -> None:
    outcomes, asked = ask(tiny_bundle, budgets_ms=(1.0, 3.0, 0.5), count=7)
    expected_ms = [1.0, 3.0, 0.5, 1.0, 3.0, 0.5, 1.0]
    assert [outcome.budget_ms for outcome in outcomes] == expected_ms
    assert [request.body["parameters"] for request in asked] == [{"timeout": ms * 1000} for ms in expected_ms]
    assert {request.path for request in asked} == {"/v2/models/tiny/infer"}


def test_every_body_holds_the_next_departures_encoded_in_the_fewest_digits(tiny_bundle: Bundle) -> None:
    _, asked = ask(tiny_bundle, count=9)
    categorical, numeric = asked[0].body["inputs"]
    assert (categorical["name"], categorical["datatype"], categorical["shape"]) == (
        "categorical",
        "INT64",
        [ROWS, 2],
    )
    assert categorical["data"] == [1, 1, 2, 8, 3, 19]
    assert (numeric["name"], numeric["datatype"], numeric["shape"]) == ("numeric", "FP32", [ROWS, 3])
    assert numeric["data"] == [0.1, 3.45, 39.02, 733.0, 10.0, 57.0, 2475.0, 0.0, 80.1]
    assert all(left.body != right.body for left, right in pairwise(asked[:8]))
    assert asked[8].body == asked[0].body


def test_an_outcome_says_what_the_server_said_and_what_the_client_waited(tiny_bundle: Bundle) -> None:
    (outcome,), _ = ask(tiny_bundle, lambda _: Reply(tier="w4", server_ms=2.5, delay_s=0.02))
    assert (outcome.tier, outcome.reason, outcome.server_ms) == ("w4", "largest_fits", 2.5)
    assert (outcome.status, outcome.deadline_met, outcome.rows) == (200, True, ROWS)
    assert outcome.latency_ms >= 20


def test_a_late_answer_that_says_so_is_an_outcome(tiny_bundle: Bundle) -> None:
    (outcome,), _ = ask(tiny_bundle, lambda _: Reply(server_ms=7.0))
    assert (outcome.tier, outcome.server_ms, outcome.deadline_met) == ("w64", 7.0, False)


@pytest.mark.parametrize(("status", "reason"), [(429, "shed"), (504, "expired")])
def test_a_refusal_is_an_outcome_without_a_tier(tiny_bundle: Bundle, status: int, reason: str) -> None:
    outcomes, _ = ask(tiny_bundle, lambda asked: Reply(status=status if asked.number == 0 else 200), count=2)
    refused, answered = outcomes
    assert (refused.status, refused.reason, refused.tier) == (status, reason, None)
    assert (refused.server_ms, refused.deadline_met) == (None, False)
    assert answered.tier == "w64"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (answer(shape=[ROWS]), r"expected logits of shape \[3, 1\], got .*\[3\], 3"),
        (answer(shape=[ROWS + 1, 1], data=[0.25] * (ROWS + 1)), r"expected logits of shape \[3, 1\]"),
        (answer(data=[0.25] * (ROWS - 1)), r"expected logits of shape \[3, 1\], got .*\[3, 1\], 2"),
        (answer(name="scores"), r"expected logits of shape \[3, 1\], got .*scores"),
        (answer() | {"outputs": []}, r"expected logits of shape \[3, 1\], got .*\{\}"),
        (answer(data=[0.25, math.nan, 0.25]), "expected finite logits"),
        (answer(data=[0.25, -math.inf, 0.25]), "expected finite logits"),
        (answer(data=[0.25, None, 0.25]), r"outputs\.0\.data\.1: .*valid number"),
        (answer(tier="w7"), "expected a tier of the bundle, got 'w7'"),
        (answer(server_ms=5.01), r"a deadline of 5\.0 ms was called met after 5\.01 ms"),
        (answer(server_ms=math.nan), r"parameters\.server_ms: .*finite number"),
        (answer(deadline_met="perhaps"), r"parameters\.deadline_met: .*boolean"),
        ({"outputs": []}, "parameters: Field required"),
        (["no", "object"], "answer: Input should be an object"),
        (b"<html>a proxy</html>", "answer: Invalid JSON.*<html>a proxy"),
    ],
)
def test_a_wrong_answer_is_refused_and_says_what_was_expected(
    tiny_bundle: Bundle, document: Any, message: str
) -> None:
    with pytest.raises(WrongAnswerError, match=message):
        ask(tiny_bundle, lambda _: Reply(document=document))


def test_the_answer_that_the_wrong_ones_differ_from_is_right(tiny_bundle: Bundle) -> None:
    (outcome,), _ = ask(tiny_bundle, lambda _: Reply(document=answer()))
    assert (outcome.tier, outcome.deadline_met) == ("w16", True)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_any_other_status_is_refused_with_what_the_server_said(tiny_bundle: Bundle, status: int) -> None:
    with pytest.raises(WrongAnswerError, match=f"expected status 200, 429 or 504, got {status}: .*told to"):
        ask(tiny_bundle, lambda _: Reply(status=status))


def test_a_failure_without_json_is_refused_too(tiny_bundle: Bundle) -> None:
    with pytest.raises(WrongAnswerError, match="got 500: Internal Server Error"):
        ask(tiny_bundle, lambda _: Reply(status=500, document=b"Internal Server Error"))


@pytest.mark.parametrize("reply", [Reply(hang_up=True), Reply(die=True)])
def test_a_server_that_goes_away_is_an_error_of_ours(tiny_bundle: Bundle, reply: Reply) -> None:
    with pytest.raises(
        WrongAnswerError, match=r"expected an answer from http://127\.0\.0\.1.*infer, got none"
    ):
        ask(tiny_bundle, lambda _: reply)


def test_a_bundle_without_features_cannot_encode_departures(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest.model_copy(update={"features": None})
    sent = send_requests("http://127.0.0.1", manifest, DEPARTURES, budgets_ms=(1.0,), count=1, rows=ROWS)
    with pytest.raises(WrongAnswerError, match="expected a feature schema in the bundle of 'tiny'"):
        next(sent)


def outcome(tier: str | None, *, budget_ms: float = 3.0) -> Outcome:
    return Outcome(
        budget_ms=budget_ms,
        rows=ROWS,
        status=200 if tier else 429,
        tier=tier,
        reason="largest_fits" if tier else "shed",
        latency_ms=2.0,
        server_ms=1.5 if tier else None,
        deadline_met=tier is not None,
    )


def written(path: Path, bundle: Bundle, outcomes: list[Outcome]) -> dict[str, Any]:
    write_report(path, bundle, outcomes, {"install": 1.0, "train": 2.0, "export": 3.0, "serve": 4.0})
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_the_report_has_the_keys_that_scripts_read(tiny_bundle: Bundle, tmp_path: Path) -> None:
    document = written(tmp_path / "demo.json", tiny_bundle, [outcome("w4"), outcome(None), outcome("w64")])
    tier_keys = {"name", "width", "parameters", "auc", "auc_low", "auc_high", "p50_ms", "p95_ms"}
    request_keys = {"budget_ms", "tier", "latency_ms", "server_ms", "deadline_met", "rows"}
    assert all(tier_keys <= tier.keys() for tier in document["tiers"])
    assert all(request_keys <= request.keys() for request in document["requests"])
    assert document["seconds"] == {"install": 1.0, "train": 2.0, "export": 3.0, "serve": 4.0}
    assert [request["tier"] for request in document["requests"]] == ["w4", None, "w64"]


def test_the_reports_latency_of_a_tier_is_that_of_200_rows(tiny_bundle: Bundle, tmp_path: Path) -> None:
    document = written(tmp_path / "demo.json", tiny_bundle, [outcome("w4"), outcome("w64")])
    profile = tiny_bundle.profile
    for tier in document["tiers"]:
        assert tier["p50_ms"] == pytest.approx(profile.latency_ms(tier["name"], 200, "p50"))
        assert tier["p95_ms"] == pytest.approx(profile.latency_ms(tier["name"], 200, "p95"))
        assert set(tier["p50_ms_by_rows"]) == {"1", "30", "200"}


@pytest.mark.parametrize(("tiers", "named"), [(["w4", "w4", None], r"\['w4'\]"), ([None, None], r"\[\]")])
def test_one_tier_for_all_budgets_is_an_error_after_the_report_is_written(
    tiny_bundle: Bundle, tmp_path: Path, tiers: list[str | None], named: str
) -> None:
    path = tmp_path / "demo.json"
    with pytest.raises(OneTierError, match=f"expected at least two tiers to answer, got {named}"):
        written(path, tiny_bundle, [outcome(tier) for tier in tiers])
    assert len(json.loads(path.read_text())["requests"]) == len(tiers)


def test_people_see_a_line_per_budget_with_its_tiers_and_refusals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_requests([outcome("w4", budget_ms=1.0), outcome("w4", budget_ms=1.0), outcome(None, budget_ms=9.0)])
    lines = capsys.readouterr().out.splitlines()
    tight, patient = (next(line for line in lines if f" {budget} ms " in line) for budget in (1, 9))
    assert "w4 ×2" in tight
    assert "100%" in tight
    assert "shed ×1" in patient
    assert "0%" in patient
