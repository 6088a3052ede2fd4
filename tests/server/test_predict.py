"""`/v1/predict`: named columns in, probabilities out."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from elastier_contract.bundle import Bundle
from elastier_contract.features import CategoricalColumn, FeatureSchema
from elastier_contract.manifest import Manifest
from elastier_contract.signature import Signature, TensorSpec
from elastier_server.inference import InferRequest, InferResult
from support.serving import PREDICT, AppClient, Setup, client_of, fake_setup, good_rows
from support.tiny import TINY_FEATURES


def test_scores_are_probabilities_one_per_row(client: AppClient) -> None:
    answer = client.post(PREDICT, {"rows": good_rows(3), "budget_ms": 500}).json()
    assert answer["scores"] == pytest.approx([1 / (1 + math.exp(-3.5))] * 3)
    assert answer["model"] == "tiny"
    assert answer["tier"] == "w64"
    assert answer["budget_ms"] == 500
    assert answer["deadline_met"] == (answer["server_ms"] <= answer["budget_ms"])


@pytest.mark.parametrize("logit", [-1e30, 1e30], ids=["lowest", "highest"])
def test_no_logit_is_too_large(client: AppClient, setup: Setup, logit: float) -> None:
    setup.model.logit = logit
    assert client.post(PREDICT, {"rows": good_rows(1)}).json()["scores"] == [float(logit > 0)]


def test_rows_are_encoded_by_the_vocabulary_of_the_bundle(client: AppClient, setup: Setup) -> None:
    rows = good_rows(2)
    rows[1] = {"temperature": 70, "hour": "23", "carrier": "never seen", "wind_speed": 3.5, "distance": -1}
    assert client.post(PREDICT, {"rows": rows}).status_code == 200
    (request,) = setup.model.requests
    assert request.inputs["categorical"].tolist() == [[1, 3], [0, 19]]
    assert request.inputs["numeric"].tolist() == [[1.0, 2.0, 0.5], [-1.0, 3.5, 70.0]]


def test_columns_may_have_any_name(tiny_bundle: Bundle) -> None:
    renamed = FeatureSchema(
        categorical=tuple(
            column.model_copy(update={"name": name})
            for column, name in zip(TINY_FEATURES.categorical, ("class", "day of week"), strict=True)
        ),
        numeric=tuple(
            column.model_copy(update={"name": name})
            for column, name in zip(TINY_FEATURES.numeric, ("c0", "π", ""), strict=True)
        ),
    )
    setup = fake_setup(tiny_bundle)
    setup.model.manifest = tiny_bundle.manifest.model_copy(update={"features": renamed})
    with client_of(setup.app) as client:
        row = {"class": "AA", "day of week": 7, "c0": 1, "π": 2, "": 3}
        assert client.post(PREDICT, {"rows": [row]}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "budget_ms"), [({"X-Latency-Budget-Ms": "9"}, 9.0), ({}, 5.0)], ids=["header", "body"]
)
def test_a_header_wins_over_the_body(client: AppClient, headers: dict[str, str], budget_ms: float) -> None:
    answer = client.post(PREDICT, {"rows": good_rows(1), "budget_ms": 5}, headers=headers)
    assert answer.json()["budget_ms"] == budget_ms


def test_a_request_can_bound_its_tiers(client: AppClient) -> None:
    answer = client.post(PREDICT, {"rows": good_rows(1), "max_tier": "w16", "model": "tiny", "version": "1"})
    assert answer.json()["tier"] == "w16"


def test_a_model_without_a_schema_takes_tensors_only(tiny_bundle: Bundle) -> None:
    setup = fake_setup(tiny_bundle)
    setup.model.manifest = tiny_bundle.manifest.model_copy(update={"features": None})
    with client_of(setup.app) as client:
        answer = client.post(PREDICT, {"rows": good_rows(1)})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "model 'tiny' has no feature schema: send tensors to /v2/models/tiny/infer"
    }


def _of_task(manifest: Manifest, outputs: int, **task: Any) -> Manifest:
    logits = TensorSpec(name="logits", datatype="FP32", shape=(-1, outputs))
    signature = Signature(inputs=manifest.signature.inputs, outputs=(logits,))
    document = manifest.model_dump() | {"signature": signature.model_dump()} | task
    return Manifest.model_validate(document)


def test_with_several_classes_each_row_gets_a_probability_per_named_class(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = fake_setup(tiny_bundle)
    setup.model.manifest = _of_task(tiny_bundle.manifest, 3, task="multiclass", classes=("ash", "fir", "oak"))
    plain = setup.model.infer

    async def infer(request: InferRequest) -> InferResult:
        logits = np.array([[0, 0, math.log(2)], [-1e30, 1e30, 0]], dtype=np.float32)
        return replace(await plain(request), outputs={"logits": logits})

    monkeypatch.setattr(setup.model, "infer", infer)
    with client_of(setup.app) as client:
        answer = client.post(PREDICT, {"rows": good_rows(2)}).json()
    assert answer["classes"] == ["ash", "fir", "oak"]
    assert answer["scores"][0] == pytest.approx([0.25, 0.25, 0.5])
    assert answer["scores"][1] == [0, 1, 0]


@pytest.mark.parametrize(
    ("scale", "value"), [({"label_mean": 100.0, "label_std": 20.0}, 170.0), ({}, 3.5)], ids=["scaled", "raw"]
)
def test_a_regression_answers_in_the_units_of_the_label(
    tiny_bundle: Bundle, scale: dict[str, float], value: float
) -> None:
    setup = fake_setup(tiny_bundle)
    setup.model.manifest = _of_task(tiny_bundle.manifest, 1, task="regression", **scale)
    with client_of(setup.app) as client:
        answer = client.post(PREDICT, {"rows": good_rows(2)}).json()
    assert answer["scores"] == pytest.approx([value, value])
    assert "classes" not in answer


@pytest.mark.parametrize(
    ("outputs", "task", "message"),
    [
        (3, {"task": "multiclass"}, "needs the name of each class once"),
        (2, {"task": "multiclass", "classes": ("a", "a")}, "needs the name of each class once"),
        (1, {"task": "binary", "classes": ("a", "b")}, "another none"),
        (1, {"task": "multiclass", "classes": ("a", "b")}, "2 classes need as many outputs a row, got 1"),
        (1, {"task": "regression", "label_mean": 1.0}, "come together"),
        (1, {"task": "binary", "label_mean": 1.0, "label_std": 1.0}, "only a regression task"),
        (1, {"task": "regression", "label_mean": 1.0, "label_std": 0.0}, "greater than 0"),
        (1, {"task": "ranking"}, "task"),
    ],
)
def test_a_manifest_whose_task_makes_no_sense_is_refused(
    tiny_bundle: Bundle, outputs: int, task: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        _of_task(tiny_bundle.manifest, outputs, **task)


def test_values_outside_of_the_vocabulary_are_served_as_they_were_trained(tiny_bundle: Bundle) -> None:
    setup = fake_setup(tiny_bundle)
    carrier, hour = TINY_FEATURES.categorical
    setup.model.manifest = tiny_bundle.manifest.model_copy(
        update={
            "features": FeatureSchema(
                categorical=(
                    carrier.model_copy(update={"rare": True}),
                    CategoricalColumn(name=hour.name, hash_buckets=16),
                ),
                numeric=TINY_FEATURES.numeric,
            )
        }
    )
    rows = [good_rows(1)[0] | {"carrier": "never seen", "hour": value} for value in (7, "7")]
    with client_of(setup.app) as client:
        assert client.post(PREDICT, {"rows": rows}).status_code == 200
    (request,) = setup.model.requests
    rare = len(carrier.values) + 1
    assert request.inputs["categorical"].tolist() == [[rare, 3], [rare, 3]]  # CRC-32 of "7" ends in 2


def _spoiled(**changes: object) -> dict[str, object]:
    return {"rows": [good_rows(1)[0] | changes]}


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, "Object missing required field `rows`"),
        ({"rows": []}, 400, "expected 1 to 1024 rows, got 0"),
        ({"rows": {}}, 400, "Expected `array`, got `object`"),
        ({"rows": good_rows(1025)}, 400, "expected 1 to 1024 rows, got 1025"),
        ({"rows": [{"carrier": "AA"}]}, 400, "Object missing required field `hour` - at `rows[0]`"),
        (_spoiled(speed=3), 400, "Object contains unknown field `speed` - at `rows[0]`"),
        (_spoiled(distance="far"), 400, "Expected `float`, got `str` - at `rows[0].distance`"),
        (_spoiled(distance=None), 400, "Expected `float`, got `null` - at `rows[0].distance`"),
        (_spoiled(distance=True), 400, "Expected `float`, got `bool` - at `rows[0].distance`"),
        (_spoiled(distance=1e39), 400, "column 'distance' row 0: expected a finite 32-bit number, got 1e+39"),
        (_spoiled(carrier=1.5), 400, "Expected `int | str`, got `float` - at `rows[0].carrier`"),
        ({"rows": good_rows(1), "budget_ms": 0}, 400, "budget_ms: expected a budget of more than 0"),
        (
            {"rows": good_rows(1), "budget_ms": "5"},
            400,
            "Expected `float | null`, got `str` - at `body.budget_ms`",
        ),
        (
            {"rows": good_rows(1), "tier": "w5"},
            400,
            "expected a tier of 'tiny', one of ['w4', 'w16', 'w64'], got 'w5'",
        ),
        ({"rows": good_rows(1), "model": "huge"}, 404, "expected a model, one of ['tiny'], got 'huge'"),
        ({"rows": good_rows(1), "budget": 3}, 400, "Object contains unknown field `budget`"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    client: AppClient, setup: Setup, body: dict[str, object], status: int, error: str
) -> None:
    answer = client.post(PREDICT, body)
    assert (answer.status_code, answer.json()["error"][: len(error)]) == (status, error)
    assert setup.requests("invalid") == 1
    assert client.post(PREDICT, {"rows": good_rows(1)}).status_code == 200
