"""Training a teacher: the large model whose logits TA and students learn from.

A teacher sees all training labels and the schema's teacher-only columns. Its logits are cross-fitted: those
of a training row come from a model that never saw the row's label. A teacher that did would be surer of that
row than of any new one, and teach its own overfitting.

Shapes: R rows of the data set, K columns, P row positions.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from elastier_contract import atomic
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data.dataset import SPLITS, Dataset, Split
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.metrics import Interval, auc_with_interval
from elastier_trainer.teachers.logits import write_logits

if TYPE_CHECKING:
    import lightgbm as lgb

LOGITS_FILE = "logits.parquet"
REPORT_FILE = "report.json"
MODEL_FILES = "fold-*.txt"

Positions = NDArray[np.int64]


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
    auc: dict[Split, Interval]
    """On training rows out of fold; on the others the mean logit of the folds' models."""
    rows: int
    seconds: float


class FittedTeacher(Protocol):
    """One fold's model."""

    def logits(self, positions_P: Positions) -> NDArray[np.float64]:
        """Logits [P] of the rows at these positions."""
        ...

    def text(self) -> str:
        """The model as text that holds no code."""
        ...


Fit = Callable[[Positions, Callable[[float], None]], FittedTeacher]
"""Fit a model to the rows at these positions, and tell the fraction that is done."""


def train_teacher(
    data: Path, schema: Path, out: Path, *, config: TeacherConfig, progress: Progress = no_progress
) -> TeacherReport:
    """Train a cross-fitted teacher, and write its logits, its models and a report into the folder `out`.

    The folder appears when all is done, in place of an earlier teacher. Equal data, config and library
    versions give equal logits. The number of trees is fixed: to choose it on the validation rows would make
    the teacher's own AUC there too good.

    Args:
        data: Parquet or CSV file.
        schema: Its schema file.
        out: Folder for `logits.parquet`, `report.json` and `fold-N.txt`.
        config: What to train.
        progress: Told after every tree.

    Raises:
        ConfigError: `out` holds something else than a teacher.
        DataError: Data that do not fit the schema, or fewer training rows than folds.
    """
    started = time.monotonic()
    _check_replaceable(out)
    dataset = load_dataset(data, schema, with_teacher_columns=True)
    models, logits_R = _cross_fit(dataset, config, progress)
    labels_R = dataset.labels_R.numpy()
    auc = {
        split: auc_with_interval(logits_R[rows.numpy()], labels_R[rows.numpy()])
        for split, rows in dataset.splits.items()
    }
    report = TeacherReport(
        folder=out,
        logits=out / LOGITS_FILE,
        auc=auc,
        rows=len(labels_R),
        seconds=time.monotonic() - started,
    )
    _write(report, dataset, config, models, logits_R)
    return report


def _cross_fit(
    dataset: Dataset, config: TeacherConfig, progress: Progress
) -> tuple[list[FittedTeacher], NDArray[np.float32]]:
    train_P, *others = (dataset.splits[split].numpy() for split in SPLITS)
    unseen_P = np.concatenate(others)
    if len(train_P) < config.folds:
        raise DataError(f"expected a training row per fold, got {len(train_P)} for {config.folds} folds")
    fit = _KINDS[config.kind](dataset, config)
    shuffled_P = np.random.default_rng(config.seed).permutation(train_P)
    logits_R = np.zeros(len(dataset.labels_R))
    models = []
    for fold, held_out_P in enumerate(np.array_split(shuffled_P, config.folds)):

        def told(fraction: float, fold: int = fold) -> None:
            done = (fold + fraction) * config.trees
            progress("teacher", done, config.folds * config.trees, f"fold {fold + 1} of {config.folds}")

        model = fit(np.setdiff1d(train_P, held_out_P, assume_unique=True), told)
        logits_R[held_out_P] = model.logits(held_out_P)
        logits_R[unseen_P] += model.logits(unseen_P) / config.folds
        models.append(model)
    return models, logits_R.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Boosted:
    """A LightGBM model and the table it reads."""

    booster: "lgb.Booster"
    table_RK: NDArray[np.float32]
    threads: int

    def logits(self, positions_P: Positions) -> NDArray[np.float64]:
        rows_PK = self.table_RK[positions_P]
        return np.asarray(self.booster.predict(rows_PK, raw_score=True, num_threads=self.threads))

    def text(self) -> str:
        return str(self.booster.model_to_string())


def _lightgbm(dataset: Dataset, config: TeacherConfig) -> Fit:
    # LightGBM comes without an OpenMP library; on a bare machine it finds torch's, if torch is loaded first.
    import lightgbm as lgb  # noqa: PLC0415

    table_RK = np.concatenate(
        [tensor.numpy().astype(np.float32) for tensor in dataset.inputs.values()], axis=1
    )
    params = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "feature_fraction": 0.5,
        "lambda_l2": 10.0,
        "feature_pre_filter": False,
        "seed": config.seed,
        "num_threads": config.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    # Bins are made once, of all rows: they depend on the columns only, never on a label.
    binned = lgb.Dataset(
        table_RK,
        dataset.labels_R.numpy(),
        feature_name=list(dataset.features.columns),
        categorical_feature=list(range(len(dataset.features.categorical))),
        params=params,
        free_raw_data=False,
    ).construct()

    def fit(positions_P: Positions, told: Callable[[float], None]) -> FittedTeacher:
        def after_tree(env: Any) -> None:
            told((env.iteration + 1) / config.trees)

        booster = lgb.train(params, binned.subset(positions_P.tolist()), config.trees, callbacks=[after_tree])
        return _Boosted(booster=booster, table_RK=table_RK, threads=config.threads)

    return fit


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
    logits_R: NDArray[np.float32],
) -> None:
    document = {
        "auc": {split: dataclasses.asdict(interval) for split, interval in report.auc.items()},
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
            torch.from_numpy(logits_R),
            teacher=config.kind,
            data_sha256=dataset.sha256,
        )
        for fold, model in enumerate(models):
            (folder / MODEL_FILES.replace("*", str(fold))).write_text(model.text())
        (folder / REPORT_FILE).write_text(json.dumps(document, indent=1))
