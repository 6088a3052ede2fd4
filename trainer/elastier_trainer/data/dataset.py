"""Encoded rows, ready to train on.

Shapes: R rows of the whole data set, C categorical columns, N numeric columns.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from elastier_contract.features import FeatureSchema
from elastier_trainer.task import Task

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All rows of a data file, encoded by a feature schema that was fitted on its training rows."""

    features: FeatureSchema
    inputs: dict[str, Tensor]
    """`categorical` int64 [R, C] and `numeric` float32 [R, N]; of a large file maps of files, not to write to."""
    labels_R: Tensor
    """float32: 0 or 1, or a number in the label's unit; int64 of several classes. NaN or −1 without a label."""
    row_ids_R: Tensor
    """int64, unique; what a logits file refers to."""
    splits: dict[Split, Tensor]
    """Split → int64 row positions, disjoint; only `train` has rows without a label."""
    sha256: str
    """Digest of the data file and of its schema."""
    task: Task
    classes: tuple[str, ...] = ()
    """Of several classes their names, in the order of the labels."""
    warnings: tuple[str, ...] = ()
    """What may make the metrics look better than they are, for people."""

    def rows(self, positions: Tensor) -> dict[str, Tensor]:
        """The inputs at these row positions."""
        return {name: tensor[positions] for name, tensor in self.inputs.items()}

    def labelled(self, positions: Tensor) -> Tensor:
        """Those of these row positions whose rows have a label."""
        labels = self.labels_R[positions]
        return positions[~torch.isnan(labels) if labels.is_floating_point() else labels >= 0]
