"""How good every width is on rows that training did not fit.

Shapes: S rows of a split, B rows of one evaluation batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from elastier_trainer.data.dataset import Dataset, Split
from elastier_trainer.metrics import Interval, auc_with_interval
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import Widths

BATCH_ROWS = 4096
"""Enough to be efficient, small enough for the hidden units of a batch to stay in the cache."""


def evaluate_widths(
    model: Ranker, dataset: Dataset, split: Split, ladder: Sequence[Widths]
) -> list[Interval]:
    """AUC with its 95 % interval of each sub-model of the ladder, on all rows of a split.

    Raises:
        DataError: The split has one class only.
    """
    positions_S = dataset.splits[split]
    labels_S = dataset.labels_R[positions_S]
    return [
        auc_with_interval(logits_S, labels_S)
        for logits_S in ladder_logits(model, dataset, positions_S, ladder)
    ]


@torch.inference_mode()
def ladder_logits(
    model: Ranker, dataset: Dataset, positions_S: Tensor, ladder: Sequence[Widths]
) -> list[Tensor]:
    """Logits [S] of each sub-model of the ladder; every batch is embedded once for all of them."""
    pieces: list[list[Tensor]] = [[] for _ in ladder]
    for positions_B in torch.split(positions_S, BATCH_ROWS):
        x_BD = model.embed(dataset.rows(positions_B))
        for widths, found in zip(ladder, pieces, strict=True):
            found.append(model.rank(x_BD, widths).squeeze(1))
    return [torch.cat(found) for found in pieces]
