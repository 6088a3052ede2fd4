"""What a job leaves: one JSON file, written all at once when the job is done."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from elastier_contract import atomic
from elastier_contract.model import FrozenModel
from elastier_trainer.errors import CheckpointError

RESULT_JSON = "result.json"
FAILURE_JSON = "failure.json"

CHUNK_STEPS = 100
"""Steps that share one digest of their rows."""

JudgedOn = Literal["validation", "test"]


class BatchDigests(FrozenModel):
    """Which rows a run's batches held: SHA-256 over row ids, one for every `CHUNK_STEPS` steps."""

    steps: int
    labelled_rows: int
    labelled_fraction: float
    labelled: tuple[str, ...]
    unlabelled_rows: int
    unlabelled: tuple[str, ...]
    """Empty where a recipe has no use for rows without labels."""


class JobResult(FrozenModel):
    """One training run, judged on one split."""

    split: JudgedOn
    metric: str
    """Such as `auc`; more is better, 1 is perfect."""
    values: dict[str, float]
    """Student name, such as `w8` → metric on the split."""
    train_seconds: float
    """Inside the training loop, its evaluations included."""
    steps: int
    batches: BatchDigests
    data_sha256: str
    versions: dict[str, str]

    @property
    def mean(self) -> float:
        """Over the widths."""
        return sum(self.values.values()) / len(self.values)


class Failure(FrozenModel):
    """A job that did not end, and why."""

    job: str
    error: str


Outcome = JobResult | Failure


def write_result(folder: Path, result: JobResult) -> None:
    """Leave a job's result in its folder; the failure of an earlier attempt goes."""
    atomic.write_file(folder / RESULT_JSON, result.model_dump_json(indent=1).encode())
    (folder / FAILURE_JSON).unlink(missing_ok=True)


def write_failure(folder: Path, failure: Failure) -> None:
    """Leave why a job failed in its folder."""
    atomic.write_file(folder / FAILURE_JSON, failure.model_dump_json(indent=1).encode())


def read_result(folder: Path) -> JobResult | None:
    """The result in a job's folder; None if the job has not ended.

    Raises:
        CheckpointError: The file is not a job's result.
    """
    path = folder / RESULT_JSON
    if not path.is_file():
        return None
    try:
        return JobResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path}: expected a job's result: {error}") from error


def read_failure(folder: Path) -> Failure | None:
    """Why the last attempt of a job failed; None if it did not.

    Raises:
        CheckpointError: The file is not a failure.
    """
    path = folder / FAILURE_JSON
    if not path.is_file():
        return None
    try:
        return Failure.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path}: expected the failure of a job: {error}") from error


def differing_batches(runs: Sequence[tuple[str, BatchDigests]]) -> list[str]:
    """Where runs of one seed saw other rows, in words; empty if all saw the same.

    Runs of other lengths are compared as far as both go in whole chunks; runs whose settings ask for
    another number of rows are not comparable and stand apart.
    """
    findings = []
    groups: dict[tuple[str, float, int], tuple[str, BatchDigests]] = {}
    for name, digests in runs:
        kinds = {
            "labelled": (digests.labelled_rows, digests.labelled),
            "unlabelled": (digests.unlabelled_rows, digests.unlabelled),
        }
        for kind, (rows, own) in kinds.items():
            if not own:
                continue
            first_name, first = groups.setdefault((kind, digests.labelled_fraction, rows), (name, digests))
            others = first.labelled if kind == "labelled" else first.unlabelled
            shared = _shared_chunks(first, digests)
            if own[:shared] != others[:shared]:
                findings.append(f"{name} saw other {kind} rows than {first_name}")
    return findings


def _shared_chunks(left: BatchDigests, right: BatchDigests) -> int | None:
    return None if left.steps == right.steps else min(left.steps, right.steps) // CHUNK_STEPS
