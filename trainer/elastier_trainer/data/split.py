"""Which rows train, which choose, and which only report.

Shapes: R rows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_trainer.data.dataset import SPLITS, Split
from elastier_trainer.data.schema import ColumnSplit, GroupSplit, RandomSplit, SplitSchema, TimeSplit
from elastier_trainer.errors import DataError

Positions = dict[Split, NDArray[np.int64]]


def split_rows(
    schema: SplitSchema, labelled_R: NDArray[np.bool_], keys_R: NDArray[Any]
) -> dict[Split, Tensor]:
    """Split row positions; each split's are int64 and ascend.

    Rows without a label only ever train. A split by chance shares out the labelled rows and trains on all
    others; elsewhere an unlabelled row that falls outside of the training rows is in no split, since it would
    bring a later time or another group into training.

    Args:
        schema: How to split.
        labelled_R: Which rows have a label.
        keys_R: What to split by: numbers that order rows in time, 64-bit hashes of groups, or indices into
            `SPLITS`. By chance: nothing, thus empty.

    Raises:
        DataError: A split is empty.
    """
    match schema:
        case RandomSplit():
            positions = _by_chance(labelled_R, schema)
        case TimeSplit():
            positions = _by_time(keys_R, schema)
        case GroupSplit():
            positions = _by_group(keys_R, schema)
        case ColumnSplit():
            positions = _by_index(keys_R)
    for name in ("validation", "test"):
        positions[name] = positions[name][labelled_R[positions[name]]]
    sizes = {name: len(rows) for name, rows in positions.items()}
    empty = [name for name, size in sizes.items() if size < 1]
    if empty:
        raise DataError(f"expected labelled rows in every split, but {empty} of {sizes} are empty")
    return {name: torch.from_numpy(positions[name]) for name in SPLITS}


def check_classes(labels_R: NDArray[np.float32], splits: Mapping[Split, Tensor]) -> None:
    """Refuse a split that holds one class only: it can neither train a ranker nor judge one.

    Raises:
        DataError: Says the split and the rows of each class.
    """
    for name, positions in splits.items():
        found = labels_R[positions.numpy()]
        ones, zeros = int((found == 1).sum()), int((found == 0).sum())
        if not ones or not zeros:
            raise DataError(
                f"expected rows of both classes in the {name} split, "
                f"found {zeros} of class 0 and {ones} of class 1"
            )


def shares_of_groups(groups_R: NDArray[np.uint64], seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each row, [R], which depends on its group and the seed alone."""
    mixed_R = _mix(groups_R ^ _mix(np.array([seed % 2**64], dtype=np.uint64)))
    return (mixed_R >> np.uint64(11)).astype(np.float64) / 2.0**53


def _by_chance(labelled_R: NDArray[np.bool_], schema: RandomSplit) -> Positions:
    labelled = np.flatnonzero(labelled_R)
    rows = len(labelled)
    validation, test = (round(rows * fraction) for fraction in (schema.validation, schema.test))
    sizes = (rows - validation - test, validation, test)
    order = labelled[np.random.default_rng(schema.seed).permutation(rows)]
    parts = np.split(order, np.cumsum(sizes)[:-1])
    parts[0] = np.concatenate([parts[0], np.flatnonzero(~labelled_R)])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}


def _by_time(times_R: NDArray[np.float64], schema: TimeSplit) -> Positions:
    """Rows of the time at a boundary go with the earlier split, so every test row is later than all others."""
    sorted_R = np.sort(times_R)
    rows = len(sorted_R)
    first = sorted_R[max(0, round(rows * schema.train) - 1)]
    second = sorted_R[max(0, round(rows * (schema.train + schema.validation)) - 1)]
    part_R = (times_R > first).astype(np.int8) + (times_R > second)
    return _by_index(part_R)


def _by_group(groups_R: NDArray[np.uint64], schema: GroupSplit) -> Positions:
    share_R = shares_of_groups(groups_R, schema.seed)
    part_R = (share_R >= schema.train).astype(np.int8) + (share_R >= schema.train + schema.validation)
    return _by_index(part_R)


def _by_index(parts_R: NDArray[np.int8]) -> Positions:
    return {name: np.flatnonzero(parts_R == index) for index, name in enumerate(SPLITS)}


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (https://prng.di.unimi.it/splitmix64.c): every bit decides on every other."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
