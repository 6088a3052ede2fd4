"""LightGBM as a teacher: gradient-boosted trees of any task.

Shapes: R rows of the data set, K columns, P row positions, C outputs a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.errors import ConfigError

if TYPE_CHECKING:
    import lightgbm as lgb

Positions = NDArray[np.int64]

_FIXED = {
    "feature_fraction": 0.5,
    "lambda_l2": 10.0,
    "feature_pre_filter": False,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}

Fit = Callable[[Positions, Callable[[float], None]], "FittedTeacher"]
"""Fit a model to the rows at these positions, and tell the fraction that is done."""


class FittedTeacher(Protocol):
    """One fold's model."""

    def logits(self, positions_P: Positions) -> NDArray[np.float64]:
        """Logits [P, C] of the rows at these positions; in a regression, labels in their own unit."""
        ...

    def text(self) -> str:
        """The model as text that holds no code."""
        ...


@dataclass(frozen=True, kw_only=True)
class Boosted:
    """A LightGBM model and the table it reads."""

    booster: "lgb.Booster"
    table_RK: NDArray[np.float32]
    outputs: int
    threads: int

    def logits(self, positions_P: Positions) -> NDArray[np.float64]:
        """Raw scores, [P, C]."""
        rows_PK = self.table_RK[positions_P]
        scores = np.asarray(self.booster.predict(rows_PK, raw_score=True, num_threads=self.threads))
        return scores.reshape(len(positions_P), self.outputs)

    def text(self) -> str:
        """In LightGBM's own format."""
        return str(self.booster.model_to_string())


def boosting(
    dataset: Dataset, *, trees: int, leaves: int, learning_rate: float, seed: int, threads: int
) -> Fit:
    """How to fit LightGBM to rows of this data set.

    Raises:
        ConfigError: A task that LightGBM has no objective for.
    """
    # LightGBM comes without an OpenMP library; on a bare machine it finds torch's, if torch is loaded first.
    import lightgbm as lgb  # noqa: PLC0415

    table_RK = np.concatenate(
        [tensor.numpy().astype(np.float32) for tensor in dataset.inputs.values()], axis=1
    )
    params = {
        **_FIXED,
        **_objective(dataset),
        "num_leaves": leaves,
        "learning_rate": learning_rate,
        "seed": seed,
        "num_threads": threads,
    }
    # Bins are made once, of all rows: they depend on the columns only, never on a label.
    binned = lgb.Dataset(
        table_RK,
        _labels(dataset),
        feature_name=list(dataset.features.columns),
        categorical_feature=list(range(len(dataset.features.categorical))),
        params=params,
        free_raw_data=False,
    ).construct()

    def fit(positions_P: Positions, told: Callable[[float], None]) -> FittedTeacher:
        def after_tree(env: Any) -> None:
            told((env.iteration + 1) / trees)

        booster = lgb.train(params, binned.subset(positions_P.tolist()), trees, callbacks=[after_tree])
        return Boosted(booster=booster, table_RK=table_RK, outputs=dataset.task.outputs, threads=threads)

    return fit


def _labels(dataset: Dataset) -> NDArray[np.float32]:
    labels_R = dataset.labels_R.numpy().astype(np.float32)
    every_R = torch.arange(len(labels_R))
    known_R = np.isin(every_R, dataset.labelled(every_R))
    # LightGBM wants a label in every row, even of those that no fold is fitted to.
    return np.where(known_R, labels_R, np.float32(0))


def _objective(dataset: Dataset) -> dict[str, Any]:
    match dataset.task.name:
        case "binary" | "regression" as name:
            return {"objective": name}
        case "multiclass":
            return {"objective": "multiclass", "num_class": dataset.task.outputs}
        case name:
            raise ConfigError(
                f"teacher lightgbm: expected a binary, multiclass or regression task, got {name!r}"
            )
