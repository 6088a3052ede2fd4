"""A training run from its config to its model: begun, resumed, refused, finished."""

import os
import platform
import shutil
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
from elastier_trainer.config import TrainConfig
from elastier_trainer.config_file import dump_config, fingerprint, yaml_text
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import CheckpointError, ConfigError
from elastier_trainer.evaluate import evaluate_ladder
from elastier_trainer.folder import CONFIG_YAML, check_free, discard, is_finished, locked, open_journal
from elastier_trainer.loop import Ending, Journal, Loop, NoJournal, train
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.objective import MattaObjective
from elastier_trainer.optimizer import build_optimizer
from elastier_trainer.replicas import Forward, Replicas, joined
from elastier_trainer.sampling import Batches, make_batches
from elastier_trainer.teachers.answer import teacher_logits
from elastier_trainer.teachers.digest import source_digest
from elastier_trainer.trained import ModelRecord, TaskRecord, build_ranker, read_record, save_trained


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
    metric: str
    validation: dict[str, float]
    """Student → validation metric of these weights."""
    warnings: tuple[str, ...] = ()
    """What is odd about the data."""


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
    _check_machine(config)
    with joined() as replicas, _exclusively(run, replicas), _threads(config.threads):
        if not (resume or force):
            check_free(run)
        if is_finished(run) and not force:
            return _finished_before(run)
        progress("data", 0, 1, str(config.data))
        dataset = load_dataset(config.data, config.schema)
        progress("data", 1, 1, f"{len(dataset.labels_R):,} rows")
        teacher_RC = _ask_teacher(config, dataset, progress)
        if replicas.leads:
            if force:
                discard(run)
            atomic.write_file(run / CONFIG_YAML, yaml_text(dump_config(config, relative_to=run)).encode())
        replicas.wait()
        return _train(
            config, run, dataset, teacher_RC, replicas, command=command, progress=progress, stop=stop
        )


def _check_machine(config: TrainConfig) -> None:
    """Refuse what this machine cannot do, before any work.

    Raises:
        ConfigError: No CUDA device, or no C++ compiler.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: expected a CUDA device, found none; use cpu")
    compilers = [os.environ.get("CXX", ""), "g++", "clang++"]
    if config.compile and not any(shutil.which(compiler) for compiler in compilers):
        raise ConfigError("compile: expected a C++ compiler (g++ or clang++, or CXX), found none")


@contextmanager
def _exclusively(run: Path, replicas: Replicas) -> Iterator[None]:
    """Keep other trainers out of the folder; the leading process does so for all."""
    if not replicas.leads:
        yield
        return
    with locked(run):
        yield


def library_versions() -> dict[str, str]:
    """Of all that shapes the weights: name → version."""
    libraries = ("elastier", "torch", "safetensors", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _train(
    config: TrainConfig,
    run: Path,
    dataset: Dataset,
    teacher_RC: Tensor | None,
    replicas: Replicas,
    *,
    command: str,
    progress: Progress,
    stop: Callable[[], bool],
) -> TrainReport:
    device = torch.device(config.device)
    model = _fresh_ranker(config, dataset).to(device)
    optimizer = build_optimizer(model, config.optimizer)
    identity = _identity(config, dataset, replicas)
    state = RunState()
    if has_checkpoint(run):
        state = load_checkpoint(run, model, optimizer, fingerprint=identity)
    resumed_at = state.step

    def save_state(state: RunState) -> None:
        save_checkpoint(run, state, model, optimizer, fingerprint=identity, versions=library_versions())

    with _journal(config, run, state.step, save_state, replicas) as journal:
        loop = Loop(
            config=config,
            model=model,
            ladder=config.students,
            objective=MattaObjective(config.objective, dataset.task),
            optimizer=optimizer,
            batches=_batches(config, dataset, teacher_RC, replicas),
            evaluate=lambda submodels: [
                found.value
                for found in evaluate_ladder(model, dataset, "validation", submodels, dataset.task)
            ],
            forward=_forward(config, model, replicas),
            journal=journal,
            replicas=replicas,
            device=device,
        )
        ending = train(loop, state, stop=stop, progress=progress)
    weights = "none yet"
    if ending != "interrupted" and replicas.leads:
        weights = _save_model(config, run, dataset, state, command)
    return TrainReport(
        run=run,
        ending=ending,
        steps_taken=state.step,
        resumed_at=resumed_at,
        seconds=state.seconds,
        weights=weights,
        metric=dataset.task.metric,
        validation=state.best.validation if state.best else {},
        warnings=dataset.warnings,
    )


def _batches(config: TrainConfig, dataset: Dataset, teacher_RC: Tensor | None, replicas: Replicas) -> Batches:
    return make_batches(
        dataset,
        teacher_RC,
        labelled_rows=config.labelled_rows,
        unlabelled_rows=config.unlabelled_rows,
        labelled_fraction=config.labelled_fraction,
        seed=config.seed,
        replica=replicas.index,
        replicas=replicas.count,
    )


def _forward(config: TrainConfig, model: Ranker, replicas: Replicas) -> Forward:
    forward = replicas.forward(model)
    compiled: Forward = torch.compile(forward, dynamic=True) if config.compile else forward
    return compiled


@contextmanager
def _journal(
    config: TrainConfig, run: Path, step: int, save_state: Callable[[RunState], None], replicas: Replicas
) -> Iterator[Journal]:
    if not replicas.leads:
        yield NoJournal()
        return
    with open_journal(run, step, save_state, tensorboard=config.tensorboard) as journal:
        yield journal


def _save_model(config: TrainConfig, run: Path, dataset: Dataset, state: RunState, command: str) -> str:
    best = state.best
    if best is None:
        raise CheckpointError(f"{run}: expected an evaluated model at the end of the run, found none")
    watched = "mean over the ladder" if config.watch is None else config.watch
    weights = f"best by validation {dataset.task.metric}, {watched}: step {best.step} of {config.steps}"
    record = ModelRecord(
        features=dataset.features,
        task=TaskRecord.of(dataset.task, dataset.classes),
        config=dump_config(config, relative_to=run),
        step=best.step,
        steps_taken=state.step,
        seconds=state.seconds,
        weights=weights,
        validation=best.validation,
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
        metric=record.task.task.metric,
        validation=record.validation,
    )


def _fresh_ranker(config: TrainConfig, dataset: Dataset) -> Ranker:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_ranker(config, dataset.features, outputs=dataset.task.outputs)


def _ask_teacher(config: TrainConfig, dataset: Dataset, progress: Progress) -> Tensor | None:
    if config.teacher is None or config.objective.alpha == 0:
        return None
    return teacher_logits(config.teacher, dataset, data=config.data, schema=config.schema, progress=progress)


def _identity(config: TrainConfig, dataset: Dataset, replicas: Replicas) -> dict[str, str]:
    identity = {**fingerprint(config), "data sha256": dataset.sha256, "processes": str(replicas.count)}
    if config.teacher is not None:
        identity["teacher sha256"] = source_digest(config.teacher)
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
