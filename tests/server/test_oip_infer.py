"""Inference by the Open Inference Protocol: what a good request gets back."""

import numpy as np
import pytest

from elastier_contract.bundle import Bundle
from elastier_server.errors import DeadlineExceededError, InferenceError, NotReadyError, OverloadedError
from support.serving import INFER, AppClient, InferBody, Setup, client_of, fake_setup


def test_the_answer_names_model_version_and_outputs(client: AppClient) -> None:
    answer = client.post(INFER, InferBody.of(2) | {"id": "order-17"}).json()
    assert answer["model_name"] == "tiny"
    assert answer["model_version"] == "1"
    assert answer["id"] == "order-17"
    assert answer["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [2, 1], "data": [3.5, 3.5]}]


def test_an_answer_without_an_id_has_none(client: AppClient) -> None:
    assert "id" not in client.post(INFER, InferBody.of(1)).json()


def test_the_parameters_say_what_it_took(client: AppClient) -> None:
    said = client.post(INFER, InferBody.of(1, timeout=500_000)).json()["parameters"]
    assert said["tier"] == "w64"
    assert said["model_version"] == "1"
    assert said["reason"] == "largest_fits"
    assert (said["queue_ms"], said["predicted_ms"], said["compute_ms"]) == (1.0, 2.0, 1.5)
    assert said["budget_ms"] == 500.0
    assert said["deadline_met"] == (said["server_ms"] <= said["budget_ms"])
    assert "experiment" not in said


def test_the_model_is_told_when_its_answer_was_ready(client: AppClient, setup: Setup) -> None:
    client.post(INFER, InferBody.of(1))
    (result,) = setup.model.answers
    assert result.batch_rows == 1


def test_a_late_answer_says_so(client: AppClient, setup: Setup) -> None:
    said = client.post(INFER, InferBody.of(1, timeout=1)).json()["parameters"]
    assert said["server_ms"] > said["budget_ms"] == 0.001
    assert said["deadline_met"] is False
    assert setup.requests("late", "w64") == 1


def test_the_model_gets_what_was_sent(client: AppClient, setup: Setup) -> None:
    body = InferBody.of(2)
    body["inputs"][0]["data"] = [3, 19, 0, 4]
    body["inputs"][1]["data"] = [1, 2.5, -3e2, 4, 5, 6]
    client.post(INFER, body)
    (request,) = setup.model.requests
    assert request.rows == 2
    assert request.inputs["categorical"].dtype == np.int64
    assert request.inputs["categorical"].tolist() == [[3, 19], [0, 4]]
    assert request.inputs["numeric"].dtype == np.float32
    assert request.inputs["numeric"].tolist() == [[1.0, 2.5, -300.0], [4.0, 5.0, 6.0]]


def test_flat_and_nested_data_are_the_same(client: AppClient) -> None:
    nested = InferBody.of(2)
    nested["inputs"][0]["data"] = [[1, 2], [1, 2]]
    nested["inputs"][1]["data"] = [[1.0, 2.0, 0.5], [1.0, 2.0, 0.5]]
    flat = client.post(INFER, InferBody.of(2)).json()
    assert client.post(INFER, nested).json()["outputs"] == flat["outputs"]


def test_inputs_may_come_in_any_order(client: AppClient) -> None:
    body = InferBody.of(1)
    body["inputs"].reverse()
    assert client.post(INFER, body).status_code == 200


def test_only_the_requested_outputs_are_sent(client: AppClient) -> None:
    body = InferBody.of(1) | {"outputs": [{"name": "logits", "parameters": {"binary_data": False}}]}
    assert [output["name"] for output in client.post(INFER, body).json()["outputs"]] == ["logits"]


def test_a_version_can_be_named(client: AppClient) -> None:
    assert client.post("/v2/models/tiny/versions/1/infer", InferBody.of(1)).status_code == 200


@pytest.mark.parametrize(
    ("parameters", "headers", "budget_ms"),
    [
        ({"timeout": 7000}, {"X-Latency-Budget-Ms": "9"}, 7.0),
        ({}, {"X-Latency-Budget-Ms": "9.5"}, 9.5),
        ({}, {}, 50.0),
    ],
    ids=["parameter", "header", "default"],
)
def test_the_first_carrier_of_a_budget_wins(
    client: AppClient, setup: Setup, parameters: dict[str, int], headers: dict[str, str], budget_ms: float
) -> None:
    answer = client.post(INFER, InferBody.of(1, **parameters), headers=headers).json()
    assert answer["parameters"]["budget_ms"] == budget_ms
    (request,) = setup.model.requests
    assert (request.deadline_s - request.arrival_s) * 1e3 == pytest.approx(budget_ms)


@pytest.mark.parametrize(
    ("parameters", "lowest", "highest"),
    [
        ({}, 0, 2),
        ({"tier": "w16"}, 1, 1),
        ({"min_tier": "w16"}, 1, 2),
        ({"max_tier": "w16"}, 0, 1),
        ({"min_tier": "w4", "max_tier": "w4"}, 0, 0),
    ],
)
def test_a_request_can_bound_its_tiers(
    client: AppClient, setup: Setup, parameters: dict[str, str], lowest: int, highest: int
) -> None:
    assert client.post(INFER, InferBody.of(1, **parameters)).status_code == 200
    (request,) = setup.model.requests
    assert (request.bounds.lowest, request.bounds.highest) == (lowest, highest)


def test_the_priority_goes_through(client: AppClient, setup: Setup) -> None:
    client.post(INFER, InferBody.of(1, priority=3))
    assert setup.model.requests[0].priority == 3


def test_a_request_id_is_sent_back_or_made(client: AppClient) -> None:
    given = client.post(INFER, InferBody.of(1), headers={"X-Request-Id": "abc-1"})
    made = client.post(INFER, InferBody.of(1))
    assert given.headers.get_list("x-request-id") == ["abc-1"]
    assert len(made.headers["x-request-id"]) == 16
    again = client.post(INFER, InferBody.of(1))
    assert again.headers["x-request-id"] != made.headers["x-request-id"]


def test_a_request_id_that_no_header_may_carry_is_replaced(client: AppClient) -> None:
    answer = client.post(INFER, InferBody.of(1), headers={"X-Request-Id": "two words"})
    assert answer.headers["x-request-id"] != "two words"


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (OverloadedError("expected 9 ms, have 3", retry_after_s=1.2), 429, "shed"),
        (NotReadyError("loading"), 503, "shed"),
        (DeadlineExceededError("expired"), 504, "expired"),
        (InferenceError("engine failed"), 500, "error"),
    ],
    ids=["overloaded", "not-ready", "expired", "failed"],
)
def test_what_the_model_refuses_has_its_status(
    client: AppClient, setup: Setup, error: Exception, status: int, outcome: str
) -> None:
    setup.model.error = error
    answer = client.post(INFER, InferBody.of(1))
    assert answer.status_code == status
    assert answer.json() == {"error": str(error)}
    assert setup.requests(outcome) == 1
    setup.model.error = None
    assert client.post(INFER, InferBody.of(1)).status_code == 200


def test_a_shed_request_is_told_when_to_come_back(client: AppClient, setup: Setup) -> None:
    setup.model.error = OverloadedError("full", retry_after_s=1.2)
    assert client.post(INFER, InferBody.of(1)).headers["retry-after"] == "2"


def test_a_fault_of_ours_is_told_by_its_request_id_only(
    client: AppClient, setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.model.error = ZeroDivisionError("secret detail")
    answer = client.post(INFER, InferBody.of(1), headers={"X-Request-Id": "abc-2"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error, request id abc-2"}
    assert answer.headers["x-request-id"] == "abc-2"
    assert "secret detail" in caplog.text
    assert setup.requests("error") == 1


def test_an_answer_that_is_not_finite_is_never_sent(client: AppClient, setup: Setup) -> None:
    setup.model.logit = float("nan")
    answer = client.post(INFER, InferBody.of(1))
    assert answer.status_code == 500
    assert answer.json() == {"error": "the model's output 'logits' is not finite"}


def test_more_rows_are_taken_up_to_the_limit(tiny_bundle: Bundle) -> None:
    with client_of(fake_setup(tiny_bundle, max_rows=3).app) as client:
        assert client.post(INFER, InferBody.of(3)).status_code == 200
        refused = client.post(INFER, InferBody.of(4))
    assert refused.status_code == 400
    assert refused.json() == {"error": "expected 1 to 3 rows, got 4"}
