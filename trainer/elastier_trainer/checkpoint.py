"""The state of a run between two steps: `checkpoint/` in the run's folder, replaced all at once.

Tensors are safetensors, the rest is JSON; nothing is pickled. Batches and widths are functions of the seed
and the step, so there is no generator's state to keep.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from elastier_contract import atomic
from elastier_contract.model import FrozenModel
from elastier_trainer.errors import CheckpointError
from elastier_trainer.optimizer import load_optimizer_tensors, optimizer_tensors
from elastier_trainer.trained import TrainedModel, load_trained, load_weights

__all__ = ["Best", "RunState", "TrainedModel", "load_checkpoint", "load_trained", "save_checkpoint"]

CHECKPOINT_FOLDER = "checkpoint"
STATE_JSON = "state.json"
WEIGHTS, OPTIMIZER, BEST = "model.safetensors", "optimizer.safetensors", "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best weights so far, by the watched validation metric."""

    step: int
    watched: float
    validation: dict[str, float]
    """Student → validation metric."""
    weights: dict[str, Tensor]


@dataclass(kw_only=True)
class RunState:
    """Where a run is; changed by the loop alone."""

    step: int = 0
    """Steps taken."""
    best: Best | None = None
    stale: int = 0
    """Evaluations since the best one."""
    seconds: float = 0.0
    """Spent in the loop, over all of the run's processes."""


class CheckpointRecord(FrozenModel):
    """What `state.json` says."""

    fingerprint: dict[str, str]
    """What must be the same for a resumed run to be the same run: name → value or digest."""
    versions: dict[str, str]
    step: int
    stale: int
    seconds: float
    best_step: int | None
    best_watched: float | None
    best_validation: dict[str, float]


def has_checkpoint(run: Path) -> bool:
    """Whether there is a checkpoint to resume from."""
    return (run / CHECKPOINT_FOLDER / STATE_JSON).is_file()


def save_checkpoint(
    run: Path,
    state: RunState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    fingerprint: dict[str, str],
    versions: dict[str, str],
) -> None:
    """Replace the run's checkpoint by the state as it is now."""
    best = state.best
    record = CheckpointRecord(
        fingerprint=fingerprint,
        versions=versions,
        step=state.step,
        stale=state.stale,
        seconds=state.seconds,
        best_step=best.step if best else None,
        best_watched=best.watched if best else None,
        best_validation=best.validation if best else {},
    )
    with atomic.folder(run / CHECKPOINT_FOLDER) as folder:
        safetensors.torch.save_file(model.state_dict(), folder / WEIGHTS)
        safetensors.torch.save_file(optimizer_tensors(model, optimizer), folder / OPTIMIZER)
        if best:
            safetensors.torch.save_file(best.weights, folder / BEST)
        (folder / STATE_JSON).write_text(record.model_dump_json(indent=1))


def load_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, fingerprint: dict[str, str]
) -> RunState:
    """Put model and optimizer into the state of the run's checkpoint.

    Args:
        run: The run's folder.
        model: Of the run's config.
        optimizer: Over the model's parameters.
        fingerprint: That of the run as it is configured now.

    Raises:
        CheckpointError: Damaged, or a checkpoint of another configuration, data set or teacher.
    """
    folder = run / CHECKPOINT_FOLDER
    record = _read_record(folder / STATE_JSON)
    changed = [
        f"{name} was {record.fingerprint.get(name)}, is {value}"
        for name, value in fingerprint.items()
        if value != record.fingerprint.get(name)
    ]
    if changed:
        raise CheckpointError(
            f"{folder}: expected a checkpoint of this run, got one of another: {'; '.join(changed)}. "
            "Resume with what the run began with, or start over with --force"
        )
    load_weights(model, folder / WEIGHTS)
    load_optimizer_tensors(model, optimizer, _read_tensors(folder / OPTIMIZER))
    best = None
    if record.best_step is not None and record.best_watched is not None:
        best = Best(
            step=record.best_step,
            watched=record.best_watched,
            validation=record.best_validation,
            weights=_read_tensors(folder / BEST),
        )
    return RunState(step=record.step, best=best, stale=record.stale, seconds=record.seconds)


def _read_record(path: Path) -> CheckpointRecord:
    try:
        return CheckpointRecord.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise CheckpointError(f"{path}: not the record of a checkpoint: {error}") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected tensors in safetensors, cannot read them: {error}"
        ) from error
    return tensors
