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

from elastier_cli.demo.departures import Departures
from elastier_contract.errors import ElastierError
from elastier_contract.manifest import Manifest

_BODIES = 8


class WrongAnswerError(ElastierError):
    """An answer that is not what was asked for, or that contradicts itself."""


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
        WrongAnswerError: A status other than 200, 429 and 504, wrong shapes, or a deadline called met that was not.
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
            response = client.post(path, content=body)
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
    answer = response.json()
    if response.status_code in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.GATEWAY_TIMEOUT}:
        tier, reason, server_ms, met = None, "shed" if response.status_code == 429 else "expired", None, False
    elif response.status_code == httpx.codes.OK:
        parameters = answer["parameters"]
        tier, reason = parameters["tier"], parameters["reason"]
        server_ms, met = parameters["server_ms"], parameters["deadline_met"]
        _check_scores(answer["outputs"], rows)
        if manifest.tier(tier) is None:
            raise WrongAnswerError(f"expected a tier of the bundle, got {tier!r}")
        if met and server_ms > budget_ms:
            raise WrongAnswerError(f"a deadline of {budget_ms} ms was called met after {server_ms} ms")
    else:
        raise WrongAnswerError(f"expected status 200, 429 or 504, got {response.status_code}: {answer}")
    return Outcome(
        budget_ms=budget_ms,
        rows=rows,
        status=response.status_code,
        tier=tier,
        reason=reason,
        latency_ms=round(latency_ms, 3),
        server_ms=server_ms,
        deadline_met=met,
    )


def _check_scores(outputs: list[dict[str, Any]], rows: int) -> None:
    found = {output["name"]: output for output in outputs}
    logits = found.get("logits")
    if logits is None or logits["shape"] != [rows, 1] or np.size(logits["data"]) != rows:
        raise WrongAnswerError(f"expected logits of shape [{rows}, 1], got {[o['shape'] for o in outputs]}")
    if not np.all(np.isfinite(logits["data"])):
        raise WrongAnswerError("expected finite logits, got others")
