"""The column that is learned: from its values to labels, classes and a task.

Shapes: R rows of the data set.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract.model import FrozenModel
from elastier_trainer.data.schema import LabelKind, LabelSchema
from elastier_trainer.data.stream import Part
from elastier_trainer.data.table import blank_to_null, categories, check_present, numbers
from elastier_trainer.errors import DataError
from elastier_trainer.task import Task, TaskName, make_task

NO_CLASS = -1
"""The label of a row without one, of several classes; of other kinds it is NaN."""
_MOST_CLASSES = 10_000
_SHOWN = 6
_ADVICE = "; `unlabelled: keep` in the schema keeps such rows for a teacher's logits"


@dataclass(frozen=True, kw_only=True)
class RawLabels:
    """Labels as they are in the file."""

    target: LabelSchema
    values_R: NDArray[np.float64]
    """Of several classes an index into `names`; NaN where there is no label."""
    names: tuple[str, ...]
    """Values in the order of the file, of several classes."""

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which rows have a label, [R]."""
        found_R: NDArray[np.bool_] = ~np.isnan(self.values_R)
        return found_R


class TaskFacts(FrozenModel):
    """What makes a task, beside its classes' names."""

    name: TaskName
    classes: int | None = None
    largest_share: float | None = None
    label_mean: float = 0.0
    label_std: float = 1.0

    def task(self) -> Task:
        """The task."""
        return make_task(**self.model_dump())


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the task learns."""

    labels_R: Tensor
    """float32, or class indices int64; NaN or −1 without a label."""
    classes: tuple[str, ...]
    facts: TaskFacts


class LabelReader:
    """Collects a label column part by part."""

    def __init__(self, target: LabelSchema, *, optional: bool) -> None:
        self._target = target
        self._optional = optional
        self._codes: dict[str, int] = {}
        self._parts: list[NDArray[np.float64]] = []

    def add(self, part: Part) -> None:
        """Read the labels of further rows.

        Raises:
            DataError: No number or class, or no value where one is needed; says the first row.
        """
        if not self._optional:
            column = blank_to_null(part.table.column(self._target.name).combine_chunks())
            check_present(column, self._target.name, first_row=part.first_row, advice=_ADVICE)
        read = self._classes if self._target.kind == "multiclass" else self._numbers
        self._parts.append(read(part))

    def labels(self) -> RawLabels:
        """All that were read."""
        values_R = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        if self._target.kind == "binary":
            _check_binary(self._target.name, values_R)
        return RawLabels(target=self._target, values_R=values_R, names=tuple(self._codes))

    def _numbers(self, part: Part) -> NDArray[np.float64]:
        name, table = self._target.name, part.table
        if pa.types.is_boolean(table.column(name).type):
            table = table.select([name]).cast(pa.schema([(name, pa.int8())]))
        return numbers(table, name, first_row=part.first_row, optional=True)

    def _classes(self, part: Part) -> NDArray[np.float64]:
        texts = categories(part.table, self._target.name, first_row=part.first_row, optional=True)
        encoded = texts.dictionary_encode()
        codes = [self._codes.setdefault(name, len(self._codes)) for name in encoded.dictionary.to_pylist()]
        if len(self._codes) > _MOST_CLASSES:
            raise DataError(
                f"label {self._target.name!r}: expected at most {_MOST_CLASSES} classes, found more by row "
                f"{part.first_row + len(texts) - 1}; a number to be predicted is `kind: regression`"
            )
        indices = encoded.indices.cast(pa.float64()).to_numpy(zero_copy_only=False)
        known_R = ~np.isnan(indices)
        values_R = np.full(len(indices), np.nan)
        values_R[known_R] = np.array(codes, dtype=np.float64)[indices[known_R].astype(np.int64)]
        return values_R


def finish_labels(raw: RawLabels, train_R: NDArray[np.bool_], used_R: NDArray[np.bool_]) -> Labels:
    """Classes and scale are those of the training rows.

    Args:
        raw: All labels.
        train_R: Which rows train.
        used_R: Which rows are in a split.

    Raises:
        DataError: Nothing to learn, or a class that no training row has; says which.
    """
    known_R = train_R & raw.present
    if not known_R.any():
        raise DataError(f"label {raw.target.name!r}: expected labels in the train split, found none")
    finish = _FINISH[raw.target.kind]
    return finish(raw, known_R, used_R & raw.present)


def _binary(raw: RawLabels, known_R: NDArray[np.bool_], used_R: NDArray[np.bool_]) -> Labels:  # noqa: ARG001
    return Labels(
        labels_R=torch.from_numpy(raw.values_R.astype(np.float32)), classes=(), facts=TaskFacts(name="binary")
    )


def _multiclass(raw: RawLabels, known_R: NDArray[np.bool_], used_R: NDArray[np.bool_]) -> Labels:
    codes_R = np.where(raw.present, raw.values_R, NO_CLASS).astype(np.int64)
    counts = np.bincount(codes_R[known_R], minlength=len(raw.names))
    trained = [code for code in range(len(raw.names)) if counts[code]]
    if len(trained) < 2:
        raise DataError(
            f"label {raw.target.name!r}: expected at least two classes in the train split, "
            f"found {raw.names[trained[0]]!r} alone"
        )
    trained.sort(key=_class_order(tuple(raw.names[code] for code in trained), raw.names))
    places = np.full(len(raw.names) + 1, NO_CLASS, dtype=np.int64)
    places[trained] = np.arange(len(trained))
    labels_R = places[codes_R]
    stray_R = used_R & (labels_R == NO_CLASS)
    if stray_R.any():
        row = int(np.argmax(stray_R))
        raise DataError(
            f"label {raw.target.name!r} row {row}: the class {raw.names[codes_R[row]]!r} is in no row of the "
            f"train split, so it cannot be learned ({int(stray_R.sum())} rows of such classes)"
        )
    return Labels(
        labels_R=torch.from_numpy(labels_R),
        classes=tuple(raw.names[code] for code in trained),
        facts=TaskFacts(
            name="multiclass", classes=len(trained), largest_share=float(counts.max() / counts.sum())
        ),
    )


def _regression(raw: RawLabels, known_R: NDArray[np.bool_], used_R: NDArray[np.bool_]) -> Labels:  # noqa: ARG001
    trained = raw.values_R[known_R]
    if trained.min() == trained.max():
        raise DataError(
            f"label {raw.target.name!r}: expected different values in the train split, "
            f"found {trained[0]:g} in all {len(trained)} rows"
        )
    return Labels(
        labels_R=torch.from_numpy(raw.values_R.astype(np.float32)),
        classes=(),
        facts=TaskFacts(name="regression", label_mean=float(trained.mean()), label_std=float(trained.std())),
    )


_FINISH: dict[LabelKind, Callable[[RawLabels, NDArray[np.bool_], NDArray[np.bool_]], Labels]] = {
    "binary": _binary,
    "multiclass": _multiclass,
    "regression": _regression,
}


def _class_order(classes: tuple[str, ...], names: tuple[str, ...]) -> Callable[[int], str | int]:
    """By number where every class is one, else as text; so 9 comes before 10, from CSV and Parquet alike."""
    if all(_is_plain_integer(name) for name in classes):
        return lambda code: int(names[code])
    return lambda code: names[code]


def _is_plain_integer(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and name.isascii() and str(int(name)) == name


def _check_binary(name: str, values_R: NDArray[np.float64]) -> None:
    good_R = (values_R == 0) | (values_R == 1) | np.isnan(values_R)
    if good_R.all():
        return
    found, counts = np.unique(values_R[~np.isnan(values_R)], return_counts=True)
    shown = ", ".join(
        f"{value:g} ({count} rows)" for value, count in zip(found[:_SHOWN], counts, strict=False)
    )
    more = f", … {len(found)} values in all" if len(found) > _SHOWN else ""
    raise DataError(
        f"label {name!r}: expected 0 and 1, found {shown}{more}, the first other one in row "
        f"{int(np.argmin(good_R))}; other labels need `label: {{name: {name}, kind: multiclass}}` or regression"
    )
