"""A training run from its config to its model: begun, resumed, refused, finished."""

import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from elastier_contract import atomic
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.checkpoint import RunState, has_checkpoint, load_checkpoint, save_checkpoint
from elastier_trainer.config import TrainConfig, dump_config, fingerprint, yaml_text
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import CheckpointError
from elastier_trainer.evaluate import evaluate_widths
from elastier_trainer.folder import CONFIG_YAML, check_free, discard, is_finished, locked, open_journal
from elastier_trainer.loop import Ending, Loop, train
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.optimizer import build_optimizer
from elastier_trainer.sampling import make_batches
from elastier_trainer.teachers.logits import read_logits
from elastier_trainer.trained import ModelRecord, build_ranker, read_record, save_trained


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """How a run went."""

    run: Path
    ending: Ending
    steps_taken: int
    resumed_at: int
    """The step this process began with; 0 for a new run."""
    seconds: float
    """In the loop, over all processes of the run."""
    weights: str
    """Which weights the model has, in words."""
    validation_auc: dict[int, float]
    """Width → AUC of these weights."""


def run_training(
    config: TrainConfig,
    run: Path,
    *,
    resume: bool = False,
    force: bool = False,
    command: str = "",
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> TrainReport:
    """Train into the folder `run`.

    Args:
        config: What to train.
        run: The run's folder; made if need be.
        resume: Continue from the checkpoint there is; without one, begin.
        force: Discard a run that is there.
        command: What the user typed, kept with the model.
        progress: Told after every step.
        stop: Asked before every step; True saves a checkpoint and ends the run as interrupted.

    Raises:
        TrainerError: A folder in use, data that do not fit, another run's checkpoint, a loss that diverges.
    """
    with locked(run), _threads(config.threads):
        if not (resume or force):
            check_free(run)
        if is_finished(run) and not force:
            return _finished_before(run)
        progress("data", 0, 1, str(config.data))
        dataset = load_dataset(config.data, config.schema)
        teacher_R = _read_teacher(config, dataset)
        progress("data", 1, 1, f"{len(dataset.labels_R):,} rows")
        if force:
            discard(run)
        atomic.write_file(run / CONFIG_YAML, yaml_text(dump_config(config, relative_to=run)).encode())
        return _train(config, run, dataset, teacher_R, command=command, progress=progress, stop=stop)


def library_versions() -> dict[str, str]:
    """Of all that shapes the weights: name → version."""
    libraries = ("elastier", "torch", "safetensors", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _train(
    config: TrainConfig,
    run: Path,
    dataset: Dataset,
    teacher_R: Tensor | None,
    *,
    command: str,
    progress: Progress,
    stop: Callable[[], bool],
) -> TrainReport:
    batches = make_batches(config, dataset, teacher_R)
    model = _fresh_ranker(config, dataset)
    optimizer = build_optimizer(model, config.optimizer)
    identity = _identity(config, dataset)
    state = RunState()
    if has_checkpoint(run):
        state = load_checkpoint(run, model, optimizer, fingerprint=identity)
    resumed_at = state.step

    def save_state(state: RunState) -> None:
        save_checkpoint(run, state, model, optimizer, fingerprint=identity, versions=library_versions())

    with open_journal(run, state.step, save_state) as journal:
        loop = Loop(
            config=config,
            model=model,
            optimizer=optimizer,
            batches=batches,
            evaluate=lambda ladder: [
                auc.value for auc in evaluate_widths(model, dataset, "validation", ladder)
            ],
            journal=journal,
        )
        ending = train(loop, state, stop=stop, progress=progress)
    weights = "none yet"
    if ending != "interrupted":
        weights = _save_model(config, run, dataset, state, command)
    return TrainReport(
        run=run,
        ending=ending,
        steps_taken=state.step,
        resumed_at=resumed_at,
        seconds=state.seconds,
        weights=weights,
        validation_auc=state.best.validation_auc if state.best else {},
    )


def _save_model(config: TrainConfig, run: Path, dataset: Dataset, state: RunState, command: str) -> str:
    best = state.best
    if best is None:
        raise CheckpointError(f"{run}: expected an evaluated model at the end of the run, found none")
    watched = "mean over the ladder" if config.watch_width is None else f"width {config.watch_width}"
    weights = f"best by validation AUC, {watched}: step {best.step} of {config.steps}"
    record = ModelRecord(
        features=dataset.features,
        config=dump_config(config, relative_to=run),
        step=best.step,
        steps_taken=state.step,
        seconds=state.seconds,
        weights=weights,
        validation_auc=best.validation_auc,
        data_sha256=dataset.sha256,
        command=command,
        versions=library_versions(),
    )
    save_trained(run, best.weights, record)
    return weights


def _finished_before(run: Path) -> TrainReport:
    record = read_record(run)
    return TrainReport(
        run=run,
        ending="finished before",
        steps_taken=record.steps_taken,
        resumed_at=record.steps_taken,
        seconds=record.seconds,
        weights=record.weights,
        validation_auc=record.validation_auc,
    )


def _fresh_ranker(config: TrainConfig, dataset: Dataset) -> Ranker:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_ranker(config, dataset.features)


def _read_teacher(config: TrainConfig, dataset: Dataset) -> Tensor | None:
    if config.teacher is None or config.objective.alpha == 0:
        return None
    return read_logits(config.teacher, dataset.row_ids_R, data_sha256=dataset.sha256)


def _identity(config: TrainConfig, dataset: Dataset) -> dict[str, str]:
    identity = {**fingerprint(config), "data sha256": dataset.sha256}
    if config.teacher is not None:
        with config.teacher.open("rb") as file:
            identity["teacher sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return identity


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    """Use that many threads inside; sums in another order would be other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
