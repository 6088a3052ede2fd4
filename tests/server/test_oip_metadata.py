"""What the server says about itself and its models, and in which words it refuses."""

import re

import pytest

from support.serving import AppClient, Setup


def test_the_root_points_at_documentation_and_metrics(client: AppClient) -> None:
    answer = client.get("/").json()
    assert answer["models"] == ["tiny"]
    assert client.get(answer["docs"]).status_code == 200
    assert client.get(answer["metrics"]).status_code == 200


def test_the_api_page_needs_no_outside_host(client: AppClient) -> None:
    page = client.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(assets) >= 3
    for asset in assets:
        assert client.get(asset).status_code == 200
    assert "http://" not in page
    assert "https://" not in page


def test_the_server_names_itself(client: AppClient) -> None:
    answer = client.get("/v2").json()
    assert answer["name"] == "elastier"
    assert set(answer) == {"name", "version", "extensions"}


def test_model_metadata_is_the_signature_and_the_tiers(client: AppClient) -> None:
    answer = client.get("/v2/models/tiny").json()
    assert answer["versions"] == ["1"]
    assert answer["inputs"] == [
        {"name": "categorical", "datatype": "INT64", "shape": [-1, 2]},
        {"name": "numeric", "datatype": "FP32", "shape": [-1, 3]},
    ]
    assert answer["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 1]}]
    assert [tier["name"] for tier in answer["tiers"]] == ["w4", "w16", "w64"]
    assert client.get("/v2/models/tiny/versions/1").json() == answer


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"])
def test_a_warm_server_is_live_and_ready(client: AppClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_a_cold_model_is_live_but_not_ready(client: AppClient, setup: Setup) -> None:
    setup.model.ready = False
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.json() == {"error": "model 'tiny' version '1' is not ready"}


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v2/models/huge", 404, "expected a model, one of ['tiny'], got 'huge'"),
        (
            "GET",
            "/v2/models/tiny/versions/9/ready",
            404,
            "expected a version of 'tiny', one of ['1'], got '9'",
        ),
        ("POST", "/v2/models/huge/infer", 404, "expected a model, one of ['tiny'], got 'huge'"),
        (
            "POST",
            "/v2/models/tiny/versions/9/infer",
            404,
            "expected a version of 'tiny', one of ['1'], got '9'",
        ),
        ("GET", "/v3", 404, "no route '/v3'; see /docs"),
        ("GET", "/v2/", 404, "no route '/v2/'; see /docs"),
        ("GET", "/v1/predict", 405, "'/v1/predict' does not take the method GET"),
        ("DELETE", "/v2", 405, "'/v2' does not take the method DELETE"),
    ],
)
def test_unknown_places_are_refused_in_json(
    client: AppClient, method: str, path: str, status: int, error: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.json() == {"error": error}
    assert "x-request-id" in answer.headers


def test_a_wrong_method_names_the_right_ones(client: AppClient) -> None:
    assert client.get("/v1/predict").headers["allow"] == "POST"


def test_every_documented_example_works(client: AppClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    tried = []
    for path in (
        "/v2/models/{model_name}/infer",
        "/v2/models/{model_name}/versions/{version}/infer",
        "/v1/predict",
    ):
        operation = paths[path]["post"]
        values = {p["name"]: p["example"] for p in operation["parameters"] if p["in"] == "path"}
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            answer = client.post(path.format(**values), example["value"])
            assert answer.status_code == 200, answer.text
            tried.append(path)
    assert len(tried) == 3


def test_every_documented_schema_is_defined(client: AppClient) -> None:
    document = client.get("/openapi.json")
    schemas = document.json()["components"]["schemas"]
    for reference in document.text.split('"$ref":"#/components/schemas/')[1:]:
        assert reference.partition('"')[0] in schemas
    assert {"InferBody", "PredictBody", "Error"} <= set(schemas)
