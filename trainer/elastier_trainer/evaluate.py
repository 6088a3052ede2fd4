"""How good every sub-model is on rows that training did not fit.

Shapes: S rows of a split, B rows of one evaluation batch, C outputs a row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from elastier_trainer.data.dataset import Dataset, Split
from elastier_trainer.metrics import Interval
from elastier_trainer.submodel import NestedModel, Submodel
from elastier_trainer.task import Task

BATCH_ROWS = 4096
"""Enough to be efficient, small enough for the hidden units of a batch to stay in the cache."""


def evaluate_ladder(
    model: NestedModel, dataset: Dataset, split: Split, submodels: Sequence[Submodel], task: Task
) -> list[Interval]:
    """The task's metric with its 95 % interval, of each sub-model on all rows of a split.

    Raises:
        DataError: The split has one class only.
    """
    positions_S = dataset.splits[split]
    labels_S = dataset.labels_R[positions_S]
    return [
        task.evaluate(logits_SC, labels_S)
        for logits_SC in ladder_logits(model, dataset, positions_S, submodels)
    ]


@torch.inference_mode()
def ladder_logits(
    model: NestedModel, dataset: Dataset, positions_S: Tensor, submodels: Sequence[Submodel]
) -> list[Tensor]:
    """Outputs [S, C] of each sub-model, on the CPU."""
    pieces: list[list[Tensor]] = [[] for _ in submodels]
    device = next(model.parameters()).device
    for positions_B in torch.split(positions_S, BATCH_ROWS):
        inputs = {name: tensor.to(device) for name, tensor in dataset.rows(positions_B).items()}
        for found, logits_BC in zip(pieces, model.logits(inputs, submodels), strict=True):
            found.append(logits_BC.float().cpu())
    return [torch.cat(found) for found in pieces]
