"""Signs that metrics will look better than the model is; they warn, since only people can tell.

Shapes: R rows of the data set, S sampled rows, B bins of one feature.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract.features import CATEGORICAL, NUMERIC, FeatureSchema
from elastier_trainer.data.dataset import Split
from elastier_trainer.task import Task

_SAMPLE = 20_000
_FEWEST = 100
"""Of fewer rows nothing is said about single features."""
_BINS = 256
_ALIKE = 0.99
_OFTEN = 0.1
_MEASURE = {"binary": "AUC", "multiclass": "accuracy above chance", "regression": "R²"}
_EVALUATED: tuple[Split, ...] = ("validation", "test")


class LeakFinder:
    """Looks at encoded rows as they pass by: all of them may be more than memory holds."""

    def __init__(self, labels_R: NDArray[Any], train_T: NDArray[np.int64], task: Task) -> None:
        self._labels_R = labels_R
        self._task = task
        self._sample_S = np.sort(np.random.default_rng(0).permutation(train_T)[:_SAMPLE])
        self._hashes: list[NDArray[np.uint64]] = []
        self._samples: list[Mapping[str, NDArray[Any]]] = []

    def add(self, rows: slice, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Remember what is needed of the inputs of further rows.

        Args:
            rows: Where they are among all.
            inputs: Theirs alone.
        """
        self._hashes.append(hash_rows(inputs, self._labels_R[rows]))
        first, last = np.searchsorted(self._sample_S, (rows.start, rows.stop))
        chosen = self._sample_S[first:last] - rows.start
        self._samples.append({name: array[chosen] for name, array in inputs.items()})

    def hashes_R(self) -> NDArray[np.uint64]:  # noqa: N802 - a tensor's shape
        """A hash of each row's inputs and label."""
        return np.concatenate(self._hashes)

    def labels_in_disguise(self, features: FeatureSchema) -> list[str]:
        """A warning for every feature that by itself tells the label (nearly) always.

        It is binned, what a bin says is learned on half of a sample of training rows and judged on the other:
        by AUC, by accuracy (where 0 is that of the most frequent class), or by R².
        """
        if len(self._sample_S) < _FEWEST:
            return []
        labels_S = self._labels_R[self._sample_S]
        found = []
        for name, values_S in self._columns(features):
            score = single_feature_score(values_S, labels_S, self._task)
            if score >= _ALIKE:
                found.append(
                    f"column {name!r} alone tells the label: {_MEASURE[self._task.name]} {score:.4f} on "
                    "training rows; is it known when a request comes?"
                )
        return found

    def _columns(self, features: FeatureSchema) -> Iterator[tuple[str, NDArray[Any]]]:
        names = {
            CATEGORICAL: [column.name for column in features.categorical],
            NUMERIC: [column.name for column in features.numeric],
        }
        for kind, columns in names.items():
            for index, name in enumerate(columns):
                yield name, np.concatenate([sample[kind][:, index] for sample in self._samples])


def shared_groups(groups_R: NDArray[np.uint64], splits: Mapping[Split, Tensor], name: str) -> list[str]:
    """A warning for every split with groups that the training rows have too.

    Args:
        groups_R: A hash of each row's group.
        splits: Row positions.
        name: The group's column.
    """
    train = _distinct(groups_R[splits["train"].numpy()])
    found = []
    for split in _EVALUATED:
        groups = _distinct(groups_R[splits[split].numpy()])
        shared = int(_is_in(groups, train).sum())
        if shared:
            found.append(
                f"{shared:,} of {len(groups):,} groups ({name!r}) of the {split} split are in the train split too: "
                "split by group if new groups are to be expected"
            )
    return found


def shared_rows(rows_R: NDArray[np.uint64], splits: Mapping[Split, Tensor]) -> list[str]:
    """A warning for every split with rows that the training rows have too, every feature and the label alike.

    Nothing is said where training rows are often alike themselves: a few categories leave no choice.

    Args:
        rows_R: A hash of each row.
        splits: Row positions.
    """
    train = _distinct(rows_R[splits["train"].numpy()])
    if len(train) < (1 - _OFTEN) * len(splits["train"]):
        return []
    found = []
    for split in _EVALUATED:
        rows = rows_R[splits[split].numpy()]
        shared = int(_is_in(rows, train).sum())
        if shared:
            found.append(
                f"{shared:,} of {len(rows):,} rows of the {split} split are in the train split too, "
                "every feature and the label alike"
            )
    return found


def hash_rows(inputs: Mapping[str, NDArray[Any]], labels_R: NDArray[Any]) -> NDArray[np.uint64]:
    """A hash of each row's inputs and label, [R]."""
    hashes_R = _bits(labels_R)
    for array in inputs.values():
        for values_R in array.T:
            with np.errstate(over="ignore"):
                # FNV-1a's step on 64 bits at once, with a shift that brings high bits down again.
                hashes_R = (hashes_R ^ _bits(values_R)) * np.uint64(0x9E3779B97F4A7C15)
                hashes_R ^= hashes_R >> np.uint64(29)
    return hashes_R


def _distinct(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sorted; sorting hashes takes a tenth of the time of numpy's own `unique`."""
    ordered = np.sort(hashes)
    distinct: NDArray[np.uint64] = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
    return distinct


def _is_in(hashes: NDArray[np.uint64], ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    places = np.searchsorted(ordered, hashes).clip(max=len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[places] == hashes
    return found


def _bits(values_R: NDArray[Any]) -> NDArray[np.uint64]:
    if values_R.dtype.kind == "f":
        # Adding 0 makes one zero of two.
        return (values_R.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    return values_R.astype(np.uint64)


def single_feature_score(values_S: NDArray[Any], labels_S: NDArray[Any], task: Task) -> float:
    """How well one feature tells the label: 1 is always, whatever the task.

    Args:
        values_S: Numbers, or ids from 0.
        labels_S: As in a data set, none missing.
        task: What labels mean.
    """
    bins_S = _binned(values_S)
    half = np.arange(len(bins_S)) % 2 == 0
    bins, judged = bins_S[half], bins_S[~half]
    known, wanted = labels_S[half], labels_S[~half]
    if task.name == "multiclass":
        return _accuracy_above_chance(bins, known, judged, wanted)
    means_B = _means(bins, known.astype(np.float64), int(bins_S.max()) + 1)
    if task.name == "regression":
        return max(_explained(means_B[judged], wanted), _linear(values_S[~half], wanted))
    return _area(means_B, judged, wanted)


def _binned(values_S: NDArray[Any]) -> NDArray[np.int64]:
    """An index for each value or, of many values, for each of some hundred ranges of as many rows."""
    found, indices_S = np.unique(values_S, return_inverse=True)
    if len(found) <= _BINS or values_S.dtype.kind != "f":
        return indices_S
    edges = np.unique(np.quantile(values_S, np.linspace(0, 1, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, values_S).astype(np.int64)


def _means(bins: NDArray[np.int64], values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Mean value of each bin, [B]; of an empty one the mean of all."""
    counts_B = np.bincount(bins, minlength=size)
    sums_B = np.bincount(bins, weights=values, minlength=size)
    return np.where(counts_B > 0, sums_B / np.maximum(counts_B, 1), values.mean())


def _area(means_B: NDArray[np.float64], judged: NDArray[np.int64], wanted: NDArray[Any]) -> float:
    """AUC of the bins' means; rows of equal means are counted by level, since there are few."""
    levels_B = np.unique(means_B, return_inverse=True)[1]
    size = int(levels_B.max()) + 1
    ones = np.bincount(levels_B[judged], weights=wanted, minlength=size)
    zeros = np.bincount(levels_B[judged], weights=1 - wanted, minlength=size)
    pairs = float(ones.sum() * zeros.sum())
    score = float((ones * (np.cumsum(zeros) - zeros / 2)).sum()) / pairs if pairs else 0.5
    return max(score, 1 - score)


def _explained(predicted: NDArray[np.float64], wanted: NDArray[Any]) -> float:
    variance = float(wanted.var())
    return 1 - float(((predicted - wanted) ** 2).mean()) / variance if variance > 0 else 0.0


def _linear(values: NDArray[Any], wanted: NDArray[Any]) -> float:
    """R² of the best straight line: the few bins of a small sample are too coarse for a label in other units."""
    if values.dtype.kind != "f" or values.min() == values.max() or wanted.min() == wanted.max():
        return 0.0
    return float(np.corrcoef(values.astype(np.float64), wanted.astype(np.float64))[0, 1] ** 2)


def _accuracy_above_chance(
    bins: NDArray[np.int64], known: NDArray[Any], judged: NDArray[np.int64], wanted: NDArray[Any]
) -> float:
    classes = int(max(known.max(), wanted.max())) + 1
    most_frequent = int(np.bincount(known, minlength=classes).argmax())
    best_B = np.full(int(max(bins.max(), judged.max())) + 1, most_frequent)
    pairs, counts = np.unique(bins * classes + known, return_counts=True)
    # Of one bin's classes the most frequent is written last.
    pairs = pairs[np.argsort(counts, kind="stable")]
    best_B[pairs // classes] = pairs % classes
    chance = float((wanted == most_frequent).mean())
    accuracy = float((best_B[judged] == wanted).mean())
    return (accuracy - chance) / (1 - chance) if chance < 1 else 0.0
