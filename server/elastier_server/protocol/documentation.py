"""OpenAPI of the inference routes, with examples that work on the bundles that are loaded."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from elastier_contract.features import FeatureSchema
from elastier_contract.manifest import Manifest
from elastier_contract.signature import TensorSpec
from elastier_server.protocol.messages import InferBody, PredictBody
from elastier_server.state import Models
from elastier_server.version import VERSION

INFER_PATH = "/v2/models/{model_name}/infer"
INFER_VERSION_PATH = "/v2/models/{model_name}/versions/{version}/infer"
PREDICT_PATH = "/v1/predict"

_ERRORS = {
    "400": "The request does not fit the model.",
    "404": "No such model or version.",
    "413": "The body is too large.",
    "429": "Shed: the budget cannot be met now; see Retry-After.",
    "500": "The model failed.",
    "503": "Not ready, or shutting down.",
    "504": "The deadline passed in the queue.",
}
_REFERENCE = "#/components/schemas/{name}"
_EXAMPLE_ROWS = 2
_EXAMPLE_BUDGET_MS = 10


def document(app: FastAPI, models: Models) -> None:
    """Let the application's OpenAPI describe the inference routes too, which are plain ASGI."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=VERSION, description=app.description, routes=app.routes
            )
            schema["paths"] |= _paths([served.manifest for served in models])
            schema.setdefault("components", {}).setdefault("schemas", {}).update(_schemas())
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema


def infer_example(manifest: Manifest) -> dict[str, Any]:
    """A body for `/infer` that this bundle answers."""
    return {
        "id": "example",
        "parameters": {"timeout": _EXAMPLE_BUDGET_MS * 1000},
        "inputs": [_tensor_example(spec, manifest.features) for spec in manifest.signature.inputs],
    }


def predict_example(manifest: Manifest, features: FeatureSchema) -> dict[str, Any]:
    """A body for `/v1/predict` that this bundle answers."""
    rows = [
        {
            **{column.name: _nth(column.values, row) for column in features.categorical},
            **{column.name: column.mean + row * column.std for column in features.numeric},
        }
        for row in range(_EXAMPLE_ROWS)
    ]
    return {"model": manifest.name, "rows": rows, "budget_ms": _EXAMPLE_BUDGET_MS}


def _nth(values: Sequence[str], index: int) -> str:
    return values[index % len(values)] if values else ""


def _tensor_example(spec: TensorSpec, features: FeatureSchema | None) -> dict[str, Any]:
    shape = [_EXAMPLE_ROWS, *spec.shape[1:]]
    size = 1
    for length in shape:
        size *= length
    if spec.limits is not None:
        data: list[float] = [min(1 + row, limit - 1) for row in range(_EXAMPLE_ROWS) for limit in spec.limits]
    elif features is not None and spec.dtype.kind == "f":
        data = [column.mean + row * column.std for row in range(_EXAMPLE_ROWS) for column in features.numeric]
    else:
        data = [spec.dtype.type(0).item()] * size
    return {"name": spec.name, "shape": shape, "datatype": spec.datatype, "data": data}


def _schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components([InferBody, PredictBody], ref_template=_REFERENCE)
    components["InferInput"]["properties"]["data"] = {
        "type": "array",
        "items": {},
        "description": "Values in row-major order, flat or nested as the shape says.",
    }
    components["InferInput"]["required"] = ["name", "shape", "datatype", "data"]
    components["PredictBody"]["properties"]["rows"] = {
        "type": "array",
        "items": {"type": "object"},
        "description": "One object a row: column → value.",
    }
    components["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}},
    }
    return components


def _paths(manifests: Iterable[Manifest]) -> dict[str, Any]:
    manifests = list(manifests)
    infer = {manifest.name: {"value": infer_example(manifest)} for manifest in manifests}
    predict = {
        manifest.name: {"value": predict_example(manifest, manifest.features)}
        for manifest in manifests
        if manifest.features is not None
    }
    model = _path_parameter("model_name", [manifest.name for manifest in manifests])
    version = _path_parameter("version", [manifest.version for manifest in manifests])
    summary = "Inference (Open Inference Protocol v2, JSON)"
    return {
        INFER_PATH: {"post": _operation("infer", summary, "InferBody", infer, [model])},
        INFER_VERSION_PATH: {
            "post": _operation(
                "infer_version", f"{summary}, one version", "InferBody", infer, [model, version]
            )
        },
        PREDICT_PATH: {
            "post": _operation("predict", "Scores for rows of named columns", "PredictBody", predict, [])
        },
    }


def _operation(
    name: str, summary: str, body: str, examples: dict[str, Any], parameters: list[dict[str, Any]]
) -> dict[str, Any]:
    errors = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(name="Error")}}},
        }
        for status, text in _ERRORS.items()
    }
    return {
        "tags": ["inference"],
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters, *_HEADERS],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": _REFERENCE.format(name=body)}, "examples": examples}
            },
        },
        "responses": {
            "200": {
                "description": "Answered, in time or late: see deadline_met.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **errors,
        },
    }


def _path_parameter(name: str, values: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": values[0]}


def _header(name: str, kind: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": kind}, "description": text}


_HEADERS = [
    _header("X-Latency-Budget-Ms", "number", "Latency budget in ms, if the body names none by `timeout`."),
    _header("X-Elastier-Unit", "string", "Unit of A/B experiments."),
    _header("X-Request-Id", "string", "Sent back; made if absent."),
]
