"""What is sent: request bodies, encoded before the load starts, so that sending costs the client little.

Shapes: R rows of one request; the other dimensions are the signature's.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastier_contract.features import NUMERIC
from elastier_contract.manifest import Manifest
from elastier_contract.signature import TensorSpec
from elastier_loadtest.errors import ScenarioError

RANDOM_PAYLOADS = 64
PREDICT_PATH = "/v1/predict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A request body that has no budget yet."""

    path: str
    body: dict[str, Any]
    rows: int

    def encode(self, budget_ms: float) -> "RequestBody":
        """Put the budget where the body's protocol has it, in place of one it may carry, and encode."""
        if self.path == PREDICT_PATH:
            body = self.body | {"budget_ms": budget_ms}
        else:
            parameters = self.body.get("parameters", {}) | {"timeout": round(budget_ms * 1000)}
            body = self.body | {"parameters": parameters}
        content = json.dumps(body, separators=(",", ":")).encode()
        return RequestBody(path=self.path, content=content, rows=self.rows, budget_ms=budget_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestBody:
    """A request, ready to be sent."""

    path: str
    content: bytes
    rows: int
    budget_ms: float


def infer_path(model: str) -> str:
    """Where the Open Inference Protocol takes requests for a model."""
    return f"/v2/models/{model}/infer"


def random_payloads(
    manifest: Manifest, *, model: str, rows: int, seed: int, count: int = RANDOM_PAYLOADS
) -> list[Payload]:
    """Make valid inputs at random, as Open Inference Protocol JSON.

    Ids are uniform below their limits; numbers are normal, with a numeric column's mean and deviation.
    """
    rng = np.random.default_rng(seed)
    return [
        Payload(
            path=infer_path(model),
            body={
                "inputs": [_random_tensor(spec, manifest, rows, rng) for spec in manifest.signature.inputs]
            },
            rows=rows,
        )
        for _ in range(count)
    ]


def read_payloads(path: Path, *, model: str | None) -> list[Payload]:
    """Read one request body a line: `{"rows": [...]}` of /v1/predict, or `{"inputs": [...]}` of the protocol.

    Raises:
        ScenarioError: No such file, nothing in it, or a line that is neither; says which line.
    """
    if not path.is_file():
        raise ScenarioError(f"expected a JSON-lines file of payloads at {path}, found none")
    lines = path.read_text(encoding="utf-8").splitlines()
    payloads = [
        _read_payload(line, f"{path.name} line {number}", model)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not payloads:
        raise ScenarioError(f"expected at least one payload in {path}, found none")
    return payloads


def encode_all(payloads: Iterable[Payload], budgets_ms: Sequence[float]) -> list[list[RequestBody]]:
    """Encode every payload with every budget: one list per budget, in the order of `budgets_ms`."""
    payloads = list(payloads)
    return [[payload.encode(budget_ms) for payload in payloads] for budget_ms in budgets_ms]


def _read_payload(line: str, where: str, model: str | None) -> Payload:
    try:
        body = json.loads(line)
    except json.JSONDecodeError as error:
        raise ScenarioError(f"{where}: expected a JSON object, got {line[:60]!r} ({error.msg})") from error
    rows = body.get("rows") if isinstance(body, dict) else None
    if isinstance(rows, list) and rows:
        return Payload(path=PREDICT_PATH, body=body, rows=len(rows))
    first = next(iter(body.get("inputs") or []), None) if isinstance(body, dict) else None
    shape = first.get("shape") if isinstance(first, dict) else None
    if not (isinstance(shape, list) and shape and isinstance(shape[0], int)):
        raise ScenarioError(f'{where}: expected {{"rows": [...]}} or {{"inputs": [...]}}, got {line[:60]!r}')
    if model is None:
        raise ScenarioError(f"{where}: an Open Inference Protocol body needs the name of its model")
    return Payload(path=infer_path(model), body=body, rows=shape[0])


def _random_tensor(
    spec: TensorSpec, manifest: Manifest, rows: int, rng: np.random.Generator
) -> dict[str, Any]:
    shape = (rows, *spec.shape[1:])
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": list(shape),
        "data": _random_values(spec, shape, manifest, rng).reshape(-1).tolist(),
    }


def _random_values(
    spec: TensorSpec, shape: tuple[int, ...], manifest: Manifest, rng: np.random.Generator
) -> NDArray[Any]:
    if spec.limits is not None:
        return rng.integers(0, spec.limits, size=shape)
    if spec.datatype == "BOOL":
        return rng.random(shape) < 0.5
    if np.issubdtype(spec.dtype, np.integer):
        return rng.integers(0, 2, size=shape)  # without limits, only the smallest ids are surely valid
    values = rng.standard_normal(shape)
    if manifest.features is not None and spec.name == NUMERIC:
        columns = manifest.features.numeric
        values = values * [column.std for column in columns] + [column.mean for column in columns]
    return values.round(4)
