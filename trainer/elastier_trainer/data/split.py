"""Which rows train, which choose, and which only report.

Shapes: R rows.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_trainer.data.dataset import SPLITS, Split
from elastier_trainer.data.schema import SplitSchema
from elastier_trainer.errors import DataError


def split_rows(rows: int, schema: SplitSchema) -> dict[Split, Tensor]:
    """Split `rows` row positions; each split's are int64 and ascend.

    Raises:
        DataError: A split is empty.
    """
    validation, test = (round(rows * fraction) for fraction in (schema.validation, schema.test))
    sizes = dict(zip(SPLITS, (rows - validation - test, validation, test), strict=True))
    empty = [name for name, size in sizes.items() if size < 1]
    if empty:
        raise DataError(f"expected rows in every split, but {empty} of {sizes} are empty")
    order_R = np.random.default_rng(schema.seed).permutation(rows)
    parts = np.split(order_R, np.cumsum(list(sizes.values()))[:-1])
    return {name: torch.from_numpy(np.sort(part)) for name, part in zip(SPLITS, parts, strict=True)}


def check_classes(labels_R: NDArray[np.float32], splits: dict[Split, Tensor]) -> None:
    """Refuse a split that holds one class only: it can neither train a ranker nor judge one.

    Raises:
        DataError: Says the split and the rows of each class.
    """
    for name, positions in splits.items():
        ones = int(labels_R[positions.numpy()].sum())
        zeros = len(positions) - ones
        if not ones or not zeros:
            raise DataError(
                f"expected rows of both classes in the {name} split, "
                f"found {zeros} of class 0 and {ones} of class 1"
            )
