"""Whether an answer is right: its shape, its numbers, its tier, and what it says of its deadline."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

from elastier_contract.manifest import Manifest
from elastier_loadtest.errors import WrongAnswerError
from elastier_loadtest.payloads import PREDICT_PATH, RequestBody
from elastier_loadtest.records import Record

REFUSALS = (429, 504)
"""Statuses that are answers to load, not errors: shed at arrival, expired in the queue."""

ROUNDING_MS = 0.001
"""Times in answers are rounded to this, so a time so near to the budget may be on either side of it."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What every answer must agree with; empty where no bundle says what is right."""

    tiers: frozenset[str] = frozenset()
    outputs: Mapping[str, tuple[int, ...]] | None = None
    """Output name → shape of one row."""
    version: str | None = None


def expected_of(manifest: Manifest | None) -> Expected:
    """What a bundle's answers must agree with."""
    if manifest is None:
        return Expected()
    return Expected(
        tiers=frozenset(tier.name for tier in manifest.tiers),
        outputs={spec.name: spec.shape[1:] for spec in manifest.signature.outputs},
        version=manifest.version,
    )


def judge(
    record: Record,
    body: RequestBody,
    *,
    status: int,
    retry_after: str | None,
    content: bytes,
    expected: Expected,
) -> None:
    """Enter into the record what the answer says, and what is wrong with it."""
    record.status = status
    record.error = None if status == 200 or status in REFUSALS else f"http {status}"
    try:
        document = _parse(content)
        if status == 200:
            _judge_scores(record, body, document, expected)
        else:
            _judge_refusal(status, retry_after, document)
    except WrongAnswerError as wrong:
        record.violation = str(wrong)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise WrongAnswerError("the body is not JSON") from error
    if not isinstance(document, dict):
        raise WrongAnswerError(f"expected a JSON object, got {type(document).__name__}")
    return document


def _judge_refusal(status: int, retry_after: str | None, document: dict[str, Any]) -> None:
    if not isinstance(document.get("error"), str):
        raise WrongAnswerError(f'status {status} without {{"error": "<message>"}}')
    if status == 429 and retry_after is None:
        raise WrongAnswerError("status 429 without Retry-After")


def _judge_scores(record: Record, body: RequestBody, document: dict[str, Any], expected: Expected) -> None:
    if body.path == PREDICT_PATH:
        told = document
        _check_numbers("scores", document.get("scores"), body.rows)
    else:
        told = document.get("parameters") or {}
        _check_outputs(document.get("outputs"), body.rows, expected)
    record.tier = _check_tier(told.get("tier"), expected)
    record.reason = told.get("reason")
    _judge_deadline(record, told)
    # The version stands at the top of the protocol's own answers, beside the tier in ours.
    version = document.get("model_version")
    if expected.version is not None and version is not None and version != expected.version:
        raise WrongAnswerError(f"expected an answer of version {expected.version!r}, got {version!r}")


def _check_tier(tier: Any, expected: Expected) -> str:
    if not isinstance(tier, str) or not tier:
        raise WrongAnswerError(f"expected the name of a tier, got {tier!r}")
    if expected.tiers and tier not in expected.tiers:
        raise WrongAnswerError(f"unknown tier {tier!r}")
    return tier


def _judge_deadline(record: Record, told: Mapping[str, Any]) -> None:
    server_ms, met = told.get("server_ms"), told.get("deadline_met")
    if isinstance(server_ms, bool) or not isinstance(server_ms, int | float) or not server_ms >= 0:
        raise WrongAnswerError(f"expected server_ms in milliseconds, got {server_ms!r}")
    if not isinstance(met, bool):
        raise WrongAnswerError(f"expected deadline_met, true or false, got {met!r}")
    record.server_ms, record.met = float(server_ms), met
    budget_ms = told.get("budget_ms", record.budget_ms)
    if not isinstance(budget_ms, int | float) or abs(budget_ms - record.budget_ms) > ROUNDING_MS:
        raise WrongAnswerError(
            f"asked for {record.budget_ms:g} ms, answered with a budget of {budget_ms!r} ms"
        )
    if met and server_ms > record.budget_ms + ROUNDING_MS:
        raise WrongAnswerError("deadline_met is true, but server_ms is above the budget")
    if not met and server_ms < record.budget_ms - ROUNDING_MS:
        raise WrongAnswerError("deadline_met is false, but server_ms is below the budget")


def _check_outputs(outputs: Any, rows: int, expected: Expected) -> None:
    if (
        not isinstance(outputs, list)
        or not outputs
        or not all(isinstance(output, dict) for output in outputs)
    ):
        raise WrongAnswerError(f"expected a list of outputs, got {type(outputs).__name__}")
    names = {output.get("name") for output in outputs}
    if expected.outputs is not None and names != set(expected.outputs):
        raise WrongAnswerError(f"expected outputs {sorted(expected.outputs)}, got {sorted(map(str, names))}")
    for output in outputs:
        name, shape = output.get("name"), output.get("shape")
        if not isinstance(shape, list) or not shape or not all(isinstance(size, int) for size in shape):
            raise WrongAnswerError(f"output {name!r} has no shape")
        right = [rows, *(expected.outputs[name] if expected.outputs else shape[1:])]
        if shape != right:
            raise WrongAnswerError(f"expected shape {right} of {name!r}, got {shape}")
        _check_numbers(f"output {name!r}", output.get("data"), prod(shape))


def _check_numbers(name: str, values: Any, count: int) -> None:
    if not isinstance(values, list) or len(values) != count:
        found = len(values) if isinstance(values, list) else type(values).__name__
        raise WrongAnswerError(f"expected {count} numbers in {name}, got {found}")
    try:
        finite = all(map(isfinite, values))
    except TypeError as error:
        raise WrongAnswerError(f"{name} holds what is no number") from error
    if not finite:
        raise WrongAnswerError(f"{name} holds a number that is not finite")
