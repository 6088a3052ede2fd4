"""Two halves of the validation rows: one to choose on, one to judge on.

Shapes: H rows of a half, C outputs a row.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.evaluate import ladder_logits
from elastier_trainer.frontier.resampled_auc import ResampledAuc
from elastier_trainer.frontier.search import BATCH
from elastier_trainer.submodel import NestedModel, Submodel
from elastier_trainer.task import BinaryTask, Task

Metric = Callable[[NDArray[np.int64]], float]
"""Of some rows, by position."""


def split_halves(dataset: Dataset, seed: int) -> tuple[Tensor, Tensor]:
    """Row positions of the choosing and of the judging half, drawn by the seed."""
    validation = dataset.splits["validation"].numpy()
    shuffled = np.random.default_rng(seed).permutation(validation)
    middle = (len(shuffled) + 1) // 2
    choosing, judging = (torch.from_numpy(np.sort(half)) for half in (shuffled[:middle], shuffled[middle:]))
    return choosing, judging


class Half:
    """A task's metric on one half; satisfies `Evaluate` and `Judge`."""

    def __init__(self, model: NestedModel, dataset: Dataset, task: Task, positions_H: Tensor) -> None:
        self._model = model
        self._dataset = dataset
        self._task = task
        self._positions_H = positions_H
        self._metrics: dict[Submodel, Metric] = {}
        self.rows = len(positions_H)

    @property
    def labels(self) -> Tensor:
        """Labels [H] of the half's rows."""
        return self._dataset.labels_R[self._positions_H]

    def evaluate(self, submodels: Sequence[Submodel]) -> list[float]:
        """Metric of each sub-model on all rows of the half; nothing is kept."""
        found = ladder_logits(self._model, self._dataset, self._positions_H, submodels)
        return [self._task.evaluate(logits_HC, self.labels).value for logits_HC in found]

    def prepare(self, submodels: Sequence[Submodel]) -> None:
        """Keep what the metric of these sub-models needs."""
        for start in range(0, len(submodels), BATCH):
            batch = submodels[start : start + BATCH]
            found = ladder_logits(self._model, self._dataset, self._positions_H, batch)
            for submodel, logits_HC in zip(batch, found, strict=True):
                self._metrics[submodel] = self._metric(logits_HC)

    def measure(self, submodel: Submodel, rows_R: NDArray[np.int64]) -> float:
        """Metric of a prepared sub-model on some rows of the half."""
        return self._metrics[submodel](rows_R)

    def _metric(self, logits_HC: Tensor) -> Metric:
        labels_H, task = self.labels, self._task
        if isinstance(task, BinaryTask):
            return ResampledAuc.from_scores(logits_HC.squeeze(1), labels_H).of

        def metric(rows_R: NDArray[np.int64]) -> float:
            chosen = torch.from_numpy(rows_R)
            return task.evaluate(logits_HC[chosen], labels_H[chosen]).value

        return metric
