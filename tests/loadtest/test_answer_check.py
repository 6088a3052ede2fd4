"""Every answer is checked, and what is wrong with it is said."""

import json
from typing import Any

import pytest

from elastier_loadtest.check import Expected, judge
from elastier_loadtest.payloads import RequestBody
from elastier_loadtest.records import Record

EXPECTED = Expected(tiers=frozenset({"w4", "w64"}), outputs={"logits": (1,)}, version="1")
TOLD = {"tier": "w4", "reason": "guard", "server_ms": 2.0, "budget_ms": 5.0, "deadline_met": True}


def judged(path: str, status: int, document: Any, retry_after: str | None = None) -> Record:
    record = Record(due_s=0.0, budget_ms=5.0, rows=2)
    body = RequestBody(path=path, content=b"", rows=2, budget_ms=5.0)
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    judge(record, body, status=status, retry_after=retry_after, content=content, expected=EXPECTED)
    return record


def predicted(**change: Any) -> Record:
    return judged("/v1/predict", 200, {"scores": [0.1, 0.9], "model_version": "1", **TOLD} | change)


def inferred(output: dict[str, Any], **change: Any) -> Record:
    right = {"name": "logits", "datatype": "FP32", "shape": [2, 1], "data": [0.5, -0.5]}
    document = {"model_version": "1", "outputs": [right | output], "parameters": TOLD | change}
    return judged("/v2/models/m/infer", 200, document)


@pytest.mark.parametrize("record", [predicted(), inferred({})])
def test_a_right_answer_is_entered_without_complaint(record: Record) -> None:
    assert record.violation is None
    assert record.answered
    assert (record.tier, record.reason, record.server_ms, record.met) == ("w4", "guard", 2.0, True)


@pytest.mark.parametrize(
    ("record", "violation"),
    [
        (predicted(scores=[0.1]), "expected 2 numbers in scores, got 1"),
        (predicted(scores="0.1"), "expected 2 numbers in scores, got str"),
        (predicted(scores=[0.1, None]), "scores holds what is no number"),
        (predicted(scores=[0.1, float("nan")]), "scores holds a number that is not finite"),
        (predicted(tier="w8"), "unknown tier 'w8'"),
        (predicted(tier=None), "expected the name of a tier, got None"),
        (predicted(server_ms=None), "expected server_ms in milliseconds, got None"),
        (predicted(server_ms=-1), "expected server_ms in milliseconds, got -1"),
        (predicted(deadline_met="yes"), "expected deadline_met, true or false, got 'yes'"),
        (predicted(server_ms=5.1), "deadline_met is true, but server_ms is above the budget"),
        (predicted(deadline_met=False), "deadline_met is false, but server_ms is below the budget"),
        (predicted(budget_ms=50), "asked for 5 ms, answered with a budget of 50 ms"),
        (predicted(model_version="2"), "expected an answer of version '1', got '2'"),
        (inferred({"name": "scores"}), "expected outputs ['logits'], got ['scores']"),
        (inferred({"shape": [1, 2]}), "expected shape [2, 1] of 'logits', got [1, 2]"),
        (inferred({"shape": None}), "output 'logits' has no shape"),
        (inferred({"data": [0.5]}), "expected 2 numbers in output 'logits', got 1"),
        (inferred({}, deadline_met=False), "deadline_met is false, but server_ms is below the budget"),
        (judged("/v1/predict", 200, b"<html>"), "the body is not JSON"),
        (judged("/v1/predict", 200, [1]), "expected a JSON object, got list"),
        (judged("/v2/models/m/infer", 200, {"outputs": []}), "expected a list of outputs, got list"),
        (judged("/v1/predict", 429, {"error": "busy"}), "status 429 without Retry-After"),
        (judged("/v1/predict", 504, {"detail": "late"}), 'status 504 without {"error": "<message>"}'),
    ],
)
def test_a_wrong_answer_is_named(record: Record, violation: str) -> None:
    assert record.violation == violation


def test_a_time_that_rounding_put_on_the_budget_is_no_violation() -> None:
    assert predicted(server_ms=5.0, deadline_met=True).violation is None
    assert predicted(server_ms=5.0, deadline_met=False).violation is None


def test_refusals_are_no_errors_and_other_statuses_are() -> None:
    shed = judged("/v1/predict", 429, {"error": "busy"}, retry_after="1")
    expired = judged("/v1/predict", 504, {"error": "late"})
    broken = judged("/v1/predict", 500, {"error": "oh"})
    assert [record.error for record in (shed, expired, broken)] == [None, None, "http 500"]
    assert [record.violation for record in (shed, expired, broken)] == [None, None, None]
    assert not any(record.answered or record.met for record in (shed, expired, broken))
