"""Training a teacher: the large model whose logits TA and students learn from.

A teacher sees all training labels and the schema's teacher-only columns. Its logits are cross-fitted: those
of a training row come from a model that never saw the row's label. A teacher that did would be surer of that
row than of any new one, and teach its own overfitting.

Shapes: R rows of the data set, P row positions, C outputs a row.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elastier_contract import atomic
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data.dataset import Dataset, Split
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.metrics import Interval
from elastier_trainer.teachers.boosting import Fit, FittedTeacher, boosting
from elastier_trainer.teachers.logits import as_outputs, write_logits

LOGITS_FILE = "logits.parquet"
REPORT_FILE = "report.json"
MODEL_FILES = "fold-*.txt"


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """What to train, one model per fold; a larger learning rate needs fewer trees."""

    kind: str = "lightgbm"
    trees: int = 150
    leaves: int = 255
    learning_rate: float = 0.1
    folds: int = 3
    seed: int = 0
    threads: int = 2
    teacher_columns: bool = True
    """Whether it sees the schema's teacher-only columns; without them it knows no more than its students."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            ConfigError: Says the key, the range and the value.
        """
        if self.kind not in list(_KINDS):
            raise ConfigError(f"kind of teacher: expected one of {sorted(_KINDS)}, got {self.kind!r}")
        for key, least in (("trees", 1), ("leaves", 2), ("folds", 2), ("seed", 0), ("threads", 1)):
            value = getattr(self, key)
            if type(value) is not int or not least <= value < 2**31:
                raise ConfigError(f"teacher's {key}: expected an integer of at least {least}, got {value!r}")
        if type(self.teacher_columns) is not bool:
            raise ConfigError(
                f"teacher's teacher_columns: expected true or false, got {self.teacher_columns!r}"
            )
        if type(self.learning_rate) not in (int, float) or not 0 < self.learning_rate <= 1:
            raise ConfigError(
                f"teacher's learning_rate: expected above 0 and at most 1, got {self.learning_rate!r}"
            )


@dataclass(frozen=True, kw_only=True)
class TeacherReport:
    """A trained teacher."""

    folder: Path
    logits: Path
    """Logits of every row of the data set, for `read_logits`."""
    metric: str
    """Name of the task's metric."""
    quality: dict[Split, Interval]
    """The metric, on training rows out of fold, on the others of the mean logit of the folds' models."""
    rows: int
    seconds: float


def train_teacher(
    data: Path, schema: Path, out: Path, *, config: TeacherConfig, progress: Progress = no_progress
) -> TeacherReport:
    """Train a cross-fitted teacher, and write its logits, its models and a report into the folder `out`.

    The folder appears when all is done, in place of an earlier teacher. Equal data, config and library
    versions give equal logits. The number of trees is fixed: to choose it on the validation rows would make
    the teacher's own metric there too good.

    Args:
        data: Parquet or CSV file.
        schema: Its schema file.
        out: Folder for `logits.parquet`, `report.json` and `fold-N.txt`.
        config: What to train.
        progress: Told after every tree.

    Raises:
        ConfigError: `out` holds something else than a teacher.
        DataError: Data that do not fit the schema, or fewer labelled training rows than folds.
    """
    started = time.monotonic()
    _check_replaceable(out)
    dataset = load_dataset(data, schema, with_teacher_columns=config.teacher_columns)
    models, logits_RC = _cross_fit(dataset, config, progress)
    report = TeacherReport(
        folder=out,
        logits=out / LOGITS_FILE,
        metric=dataset.task.metric,
        quality=_judge(logits_RC, dataset),
        rows=len(logits_RC),
        seconds=time.monotonic() - started,
    )
    _write(report, dataset, config, models, logits_RC)
    return report


def _cross_fit(
    dataset: Dataset, config: TeacherConfig, progress: Progress
) -> tuple[list[FittedTeacher], Tensor]:
    train_P = dataset.labelled(dataset.splits["train"]).numpy()
    unseen_P = np.setdiff1d(np.arange(len(dataset.row_ids_R)), train_P, assume_unique=True)
    if len(train_P) < config.folds:
        raise DataError(
            f"expected a labelled training row per fold, got {len(train_P)} for {config.folds} folds"
        )
    fit = _KINDS[config.kind](dataset, config)
    shuffled_P = np.random.default_rng(config.seed).permutation(train_P)
    logits_RC = np.zeros((len(dataset.labels_R), dataset.task.outputs))
    models = []
    for fold, held_out_P in enumerate(np.array_split(shuffled_P, config.folds)):

        def told(fraction: float, fold: int = fold) -> None:
            done = (fold + fraction) * config.trees
            progress("teacher", done, config.folds * config.trees, f"fold {fold + 1} of {config.folds}")

        model = fit(np.setdiff1d(train_P, held_out_P, assume_unique=True), told)
        logits_RC[held_out_P] = model.logits(held_out_P)
        logits_RC[unseen_P] += model.logits(unseen_P) / config.folds
        models.append(model)
    return models, torch.from_numpy(logits_RC.astype(np.float32))


def _judge(logits_RC: Tensor, dataset: Dataset) -> dict[Split, Interval]:
    outputs_RC = as_outputs(logits_RC, dataset.task)
    labelled = {split: dataset.labelled(rows) for split, rows in dataset.splits.items()}
    return {
        split: dataset.task.evaluate(outputs_RC[rows], dataset.labels_R[rows])
        for split, rows in labelled.items()
    }


def _lightgbm(dataset: Dataset, config: TeacherConfig) -> Fit:
    return boosting(
        dataset,
        trees=config.trees,
        leaves=config.leaves,
        learning_rate=config.learning_rate,
        seed=config.seed,
        threads=config.threads,
    )


_KINDS: dict[str, Callable[[Dataset, TeacherConfig], Fit]] = {"lightgbm": _lightgbm}


def _check_replaceable(out: Path) -> None:
    if not out.exists():
        return
    found = {entry.name for entry in out.iterdir()} if out.is_dir() else {out.name}
    own = {LOGITS_FILE, REPORT_FILE, *(file.name for file in out.glob(MODEL_FILES))}
    if not out.is_dir() or found - own:
        raise ConfigError(
            f"{out}: expected a teacher's folder or nothing, found {sorted(found - own)[:5]}: "
            "it is not overwritten"
        )


def _write(
    report: TeacherReport,
    dataset: Dataset,
    config: TeacherConfig,
    models: list[FittedTeacher],
    logits_RC: Tensor,
) -> None:
    document = {
        "metric": report.metric,
        report.metric: {split: dataclasses.asdict(interval) for split, interval in report.quality.items()},
        "rows": report.rows,
        "seconds": report.seconds,
        "config": dataclasses.asdict(config),
        "columns": dataset.features.columns,
        "data_sha256": dataset.sha256,
        "versions": {name: version(name) for name in ("elastier", "lightgbm", "numpy")},
    }
    with atomic.folder(report.folder) as folder:
        write_logits(
            folder / LOGITS_FILE,
            dataset.row_ids_R,
            logits_RC,
            teacher=config.kind,
            data_sha256=dataset.sha256,
        )
        for fold, model in enumerate(models):
            (folder / MODEL_FILES.replace("*", str(fold))).write_text(model.text())
        (folder / REPORT_FILE).write_text(json.dumps(document, indent=1))
