"""The demo's requests: real departures, budgets in turn, every answer checked.

Shapes: B rows of a request, C categorical columns, N numeric columns.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, FiniteFloat, ValidationError

from elastier_cli.demo.departures import Departures
from elastier_contract.errors import ElastierError
from elastier_contract.manifest import OUTPUT, Manifest

_BODIES = 8
_SHOWN = 200
"""Characters of a wrong answer that an error shows."""

_NOT_ANSWERED = {429: "shed", 504: "expired"}
"""Statuses by which a server may refuse, and what became of the request."""


class WrongAnswerError(ElastierError):
    """An answer that is not what was asked for, or that contradicts itself, or none at all."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one request; `tier` and `server_ms` are None where it was shed or expired."""

    budget_ms: float
    rows: int
    status: int
    tier: str | None
    reason: str | None
    latency_ms: float
    """As the client saw it."""
    server_ms: float | None
    """As the server's clock saw it, first byte in to answer out."""
    deadline_met: bool

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return asdict(self)


class _Output(BaseModel):
    name: str
    shape: list[int]
    data: list[float]


class _Parameters(BaseModel):
    tier: str
    reason: str
    server_ms: FiniteFloat
    deadline_met: bool


class _Answer(BaseModel):
    """What the demo reads of an answer; there is more in it."""

    outputs: list[_Output]
    parameters: _Parameters


def send_requests(
    url: str,
    manifest: Manifest,
    departures: Departures,
    *,
    budgets_ms: Sequence[float],
    count: int,
    rows: int,
) -> Iterator[Outcome]:
    """Send `count` requests of `rows` departures each, one after another, with the budgets in turn.

    Raises:
        WrongAnswerError: No answer, a status other than 200, 429 and 504, wrong shapes, or a deadline called met
            that was not.
    """
    inputs = [
        _inputs(manifest, departures.columns(start=index * rows, count=rows)) for index in range(_BODIES)
    ]
    # Encoded beforehand: a client's own JSON encoder is no part of what serving takes.
    bodies = [
        (budget_ms, json.dumps({"inputs": found, "parameters": {"timeout": round(budget_ms * 1e3)}}).encode())
        for found in inputs
        for budget_ms in budgets_ms
    ]
    path = f"/v2/models/{manifest.name}/infer"
    with httpx.Client(base_url=url, timeout=10) as client:
        for budget_ms, body in islice(cycle(bodies), count):
            start = time.perf_counter()
            try:
                response = client.post(path, content=body)
            except httpx.TransportError as error:
                raise WrongAnswerError(f"expected an answer from {url}{path}, got none: {error}") from error
            latency_ms = (time.perf_counter() - start) * 1e3
            yield _check(response, manifest, budget_ms=budget_ms, rows=rows, latency_ms=latency_ms)


def _inputs(manifest: Manifest, columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """These rows as the inputs of an Open Inference Protocol request."""
    if manifest.features is None:
        raise WrongAnswerError(f"expected a feature schema in the bundle of {manifest.name!r}, got none")
    tensors = manifest.features.encode(columns)
    return [
        {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": list(tensors[spec.name].shape),
            "data": _shortest(tensors[spec.name]),
        }
        for spec in manifest.signature.inputs
    ]


def _shortest(tensor: NDArray[Any]) -> list[int] | list[float]:
    """The values as JSON needs them: a 32-bit number in the fewest digits, not those of a 64-bit one."""
    if tensor.dtype.kind != "f":
        return [int(value) for value in tensor.ravel()]
    return [float(str(value)) for value in tensor.ravel()]


def _check(
    response: httpx.Response, manifest: Manifest, *, budget_ms: float, rows: int, latency_ms: float
) -> Outcome:
    status = response.status_code
    told: _Parameters | None = None
    if status == httpx.codes.OK:
        told = _read(response, manifest, budget_ms=budget_ms, rows=rows)
    elif status not in _NOT_ANSWERED:
        raise WrongAnswerError(f"expected status 200, 429 or 504, got {status}: {response.text[:_SHOWN]}")
    return Outcome(
        budget_ms=budget_ms,
        rows=rows,
        status=status,
        tier=told.tier if told else None,
        reason=told.reason if told else _NOT_ANSWERED[status],
        latency_ms=round(latency_ms, 3),
        server_ms=told.server_ms if told else None,
        deadline_met=told.deadline_met if told else False,
    )


def _read(response: httpx.Response, manifest: Manifest, *, budget_ms: float, rows: int) -> _Parameters:
    """What the server says of an answer, once its scores were checked."""
    try:
        answer = _Answer.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "answer"
        raise WrongAnswerError(f"{where}: {first['msg']}, got {response.text[:_SHOWN]}") from error
    _check_scores(answer.outputs, rows)
    told = answer.parameters
    if manifest.tier(told.tier) is None:
        raise WrongAnswerError(f"expected a tier of the bundle, got {told.tier!r}")
    if told.deadline_met and told.server_ms > budget_ms:
        raise WrongAnswerError(f"a deadline of {budget_ms} ms was called met after {told.server_ms} ms")
    return told


def _check_scores(outputs: list[_Output], rows: int) -> None:
    logits = next((output for output in outputs if output.name == OUTPUT), None)
    if logits is None or logits.shape != [rows, 1] or len(logits.data) != rows:
        found = {output.name: (output.shape, len(output.data)) for output in outputs}
        raise WrongAnswerError(f"expected {OUTPUT} of shape [{rows}, 1], got shapes and numbers {found}")
    if not np.all(np.isfinite(logits.data)):
        raise WrongAnswerError(f"expected finite {OUTPUT}, got others")
