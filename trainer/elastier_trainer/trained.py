"""A trained model on disk: `model/` in a run's folder, written last and all at once.

`model.safetensors` holds the weights, `model.json` what is needed to rebuild the network and to say where it
came from. Nothing in it is ever executed or unpickled.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from elastier_contract import atomic
from elastier_contract.features import FeatureSchema
from elastier_contract.model import FrozenModel
from elastier_trainer.config import TrainConfig
from elastier_trainer.config_file import parse_config, resolve_paths
from elastier_trainer.errors import CheckpointError, ConfigError
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.submodel import Ladder
from elastier_trainer.task import MulticlassTask, RegressionTask, Task, TaskName, make_task

MODEL_FOLDER = "model"
MODEL_JSON = "model.json"
MODEL_WEIGHTS = "model.safetensors"


class TaskRecord(FrozenModel):
    """What was learned, as far as serving and judging need to know."""

    name: TaskName = "binary"
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of the outputs, of a multiclass task."""
    largest_share: float | None = None
    """Share of the most frequent class, of a multiclass task."""
    label_mean: float = 0.0
    label_std: float = 1.0
    """Of a regression task: label = output · label_std + label_mean."""

    @classmethod
    def of(cls, task: Task, classes: Sequence[str] = ()) -> "TaskRecord":
        """That of a task; classes without names are called by their numbers."""
        if isinstance(task, MulticlassTask):
            names = tuple(classes) or tuple(str(index) for index in range(task.classes))
            return cls(name=task.name, classes=names, largest_share=task.largest_share)
        if isinstance(task, RegressionTask):
            return cls(name=task.name, label_mean=task.label_mean, label_std=task.label_std)
        return cls()

    @property
    def task(self) -> Task:
        """The task itself."""
        return make_task(
            self.name,
            classes=len(self.classes) or None,
            largest_share=self.largest_share,
            label_mean=self.label_mean,
            label_std=self.label_std,
        )


class ModelRecord(FrozenModel):
    """What `model.json` says."""

    features: FeatureSchema
    task: TaskRecord = TaskRecord()
    config: dict[str, Any]
    """As `dump_config` wrote it, paths relative to the run's folder."""
    step: int
    """Steps these weights had seen."""
    steps_taken: int
    """Steps the run took in all."""
    seconds: float
    """Time in the loop, over all processes of the run."""
    weights: str
    """Which weights these are and why, in words."""
    validation: dict[str, float]
    """Student → the task's metric on the validation rows."""
    data_sha256: str
    command: str
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trained TA with all its students, and where it comes from."""

    model: Ranker
    """In evaluation mode."""
    ladder: Ladder
    task: Task
    config: TrainConfig
    record: ModelRecord

    @property
    def data(self) -> Path:
        """The data file it was trained on."""
        return self.config.data

    @property
    def schema(self) -> Path:
        """The schema of that file."""
        return self.config.schema

    @property
    def data_sha256(self) -> str:
        """`Dataset.sha256` of the data it was trained on."""
        return self.record.data_sha256

    @property
    def command(self) -> str:
        """The command that trained it."""
        return self.record.command

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed

    @property
    def versions(self) -> dict[str, str]:
        """Library → version."""
        return self.record.versions


def save_trained(run: Path, weights: dict[str, Tensor], record: ModelRecord) -> None:
    """Write `model/` of a run's folder, atomically."""
    with atomic.folder(run / MODEL_FOLDER) as folder:
        safetensors.torch.save_file(weights, folder / MODEL_WEIGHTS)
        (folder / MODEL_JSON).write_text(record.model_dump_json(indent=1))


def load_trained(run: Path) -> TrainedModel:
    """Load the model of a finished run.

    Args:
        run: The folder that `elastier train --out` wrote.

    Raises:
        CheckpointError: No finished run there, or its files are damaged.
    """
    record = read_record(run)
    try:
        document = resolve_paths(record.config, run)
        config = parse_config(document, source=str(run / MODEL_FOLDER / MODEL_JSON))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    task = record.task.task
    model = build_ranker(config, record.features, outputs=task.outputs)
    load_weights(model, run / MODEL_FOLDER / MODEL_WEIGHTS)
    model.eval()
    return TrainedModel(model=model, ladder=config.students, task=task, config=config, record=record)


def read_record(run: Path) -> ModelRecord:
    """Read `model.json` of a finished run.

    Raises:
        CheckpointError: No finished run there, or the file is damaged.
    """
    path = run / MODEL_FOLDER / MODEL_JSON
    if not path.is_file():
        raise CheckpointError(
            f"expected a finished training run at {run}, found no {MODEL_FOLDER}/{MODEL_JSON}"
        )
    try:
        return ModelRecord.model_validate(json.loads(path.read_bytes()))
    except (ValueError, ValidationError) as error:
        raise CheckpointError(f"{path}: not a record of a trained model: {error}") from error


def build_ranker(config: TrainConfig, features: FeatureSchema, *, outputs: int) -> Ranker:
    """The TA of a config, with fresh weights from torch's generator."""
    return Ranker(
        features,
        outputs=outputs,
        model_dim=config.model.model_dim,
        hidden=(config.model.hidden,) * config.model.blocks,
        students=config.students.submodels if config.model.own_norms else (),
    )


def load_weights(model: nn.Module, path: Path) -> None:
    """Read weights from a safetensors file into a model.

    Raises:
        CheckpointError: The file is missing, damaged, or of another model.
    """
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: expected weights in safetensors, cannot read them: {error}"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights of another model: {error}") from error
