"""A study without training: a small study's document, and a trainer whose metrics follow a rule."""

from pathlib import Path
from typing import Any

import yaml

from elastier_trainer.errors import DivergenceError
from elastier_trainer.study.job import JobOrder, JobStoppedError, Stop
from elastier_trainer.study.results import BatchDigests, JobResult

ALL_RECIPES = ["alone", "alone_ta", "distilled", "separate_ta", "matformer", "nested_teacher", "matta"]


def study_document(**changes: Any) -> dict[str, Any]:
    """A study of three widths, one optimizer, two trials and three seeds, with `changes` on top of its keys."""
    document: dict[str, Any] = {
        "name": "small",
        "base": {
            "data": "data.parquet",
            "schema": "schema.yaml",
            "teacher": "teacher.parquet",
            "labelled_fraction": 0.2,
            "ladder": [2, 4, 8],
            "model": {"model_dim": 8, "hidden": 8},
            "steps": 24,
            "labelled_rows": 32,
            "unlabelled_rows": 96,
        },
        "recipes": ["alone", "matta"],
        "optimizers": {"adamw": {"grid": {"optimizer.lr": [0.01, 0.02]}}},
        "seeds": [0, 1, 2],
    }
    return document | changes


def write_study(folder: Path, **changes: Any) -> Path:
    """Write a study's file; returns its path."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(study_document(**changes)))
    return path


class FakeTrainer:
    """Answers at once: wider, taught and better tuned networks are better, every seed a little apart.

    Args:
        failing: Jobs whose names end with one of these fail.
        stop_after: Jobs done before it says that it was stopped.
        odd_rows: Jobs whose names end with one of these report other rows than the rest.
    """

    def __init__(
        self, *, failing: tuple[str, ...] = (), stop_after: int | None = None, odd_rows: tuple[str, ...] = ()
    ) -> None:
        self.orders: list[JobOrder] = []
        self._failing = failing
        self._stop_after = stop_after
        self._odd_rows = odd_rows

    @property
    def names(self) -> list[str]:
        """Of the jobs that were begun, in their order."""
        return [order.name for order in self.orders]

    def stopped(self) -> bool:
        """Whether it has done as many jobs as it was to do."""
        return self._stop_after is not None and len(self.orders) >= self._stop_after

    def __call__(self, order: JobOrder, stop: Stop) -> JobResult:
        if stop():
            raise JobStoppedError
        self.orders.append(order)
        if order.name.endswith(self._failing):
            raise DivergenceError("step 3: expected a finite loss, got nan")
        return JobResult(
            split=order.split,
            metric="auc",
            values={name: self._value(order, name) for name in order.config.students.names},
            train_seconds=float(len(order.config.ladder)),
            steps=order.config.steps,
            batches=self._batches(order),
            data_sha256="data",
            versions={"torch": "fake"},
        )

    @staticmethod
    def _value(order: JobOrder, name: str) -> float:
        config = order.config
        taught = 0.05 * config.objective.alpha + 0.01 * config.objective.w_distill
        # Seeds differ by the same amount for every recipe, and a little by a recipe of its own.
        seed = 0.01 * (config.seed % 7) + 0.0001 * ((config.seed * len(config.ladder)) % 3)
        tuned = 0.1 * config.optimizer.lr
        return 0.7 + taught + seed + tuned + 0.001 * int(name.removeprefix("w"))

    def _batches(self, order: JobOrder) -> BatchDigests:
        config = order.config
        kind = "odd" if order.name.endswith(self._odd_rows) else "even"
        digest = f"{kind}-{config.seed}"
        return BatchDigests(
            steps=config.steps,
            labelled_rows=config.labelled_rows,
            labelled_fraction=config.labelled_fraction,
            labelled=(digest,),
            unlabelled_rows=config.unlabelled_rows,
            unlabelled=(digest,) if config.unlabelled_rows else (),
        )
