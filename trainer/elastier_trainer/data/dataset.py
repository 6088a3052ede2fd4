"""Encoded rows, ready to train on.

Shapes: R rows of the whole data set, C categorical columns, N numeric columns.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from elastier_contract.features import FeatureSchema

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """All rows of a data file, encoded by a feature schema that was fitted on its training rows."""

    features: FeatureSchema
    inputs: dict[str, Tensor]
    """`categorical` int64 [R, C] and `numeric` float32 [R, N]."""
    labels_R: Tensor
    """float32, 0 or 1."""
    row_ids_R: Tensor
    """int64, unique; what a logits file refers to."""
    splits: dict[Split, Tensor]
    """Split → int64 row positions, disjoint."""
    sha256: str
    """Digest of the data file and of its schema."""

    def rows(self, positions: Tensor) -> dict[str, Tensor]:
        """The inputs at these row positions."""
        return {name: tensor[positions] for name, tensor in self.inputs.items()}
