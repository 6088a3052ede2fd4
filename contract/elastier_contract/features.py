"""From named columns to the tensors a ranker takes: the one encoder of training and of serving.

Shapes: B rows, C categorical columns, N numeric columns.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from elastier_contract.errors import FeatureError
from elastier_contract.model import FrozenModel
from elastier_contract.signature import TensorSpec

CATEGORICAL = "categorical"
NUMERIC = "numeric"
UNKNOWN = 0
"""The row of every embedding that stands for a value not in the vocabulary."""


class CategoricalColumn(FrozenModel):
    """A column whose values become ids, by a vocabulary or by a hash.

    With a vocabulary, `values[i]` has id i + 1. What is not in it has the RARE id, which is the last, if there
    is one: it was trained on the rare values of the training rows, which a value never seen resembles most.
    Else it has id 0, UNKNOWN.
    """

    name: str = Field(min_length=1)
    values: tuple[str, ...] = ()
    rare: bool = False
    """Whether the values outside of the vocabulary share a RARE id."""
    hash_buckets: int | None = Field(default=None, ge=2, le=2**31 - 2)
    """Ids 1 to `hash_buckets` by `hash_bucket` instead of a vocabulary."""

    @property
    def size(self) -> int:
        """Number of ids, the unknown one included."""
        return (self.hash_buckets or len(self.values) + self.rare) + 1

    @property
    def other(self) -> int:
        """The id of a value outside of the vocabulary: RARE if there is one, else UNKNOWN."""
        return len(self.values) + 1 if self.rare else UNKNOWN

    @cached_property
    def ids(self) -> dict[str, int]:
        """Value → id."""
        return {value: index for index, value in enumerate(self.values, start=UNKNOWN + 1)}

    def encode(self, texts: Iterable[str]) -> list[int]:
        """The id of each value, in time that does not grow with the vocabulary."""
        if self.hash_buckets is not None:
            return [hash_bucket(text, self.hash_buckets) for text in texts]
        ids, other = self.ids, self.other
        return [ids.get(text, other) for text in texts]

    @model_validator(mode="after")
    def _consistent(self) -> "CategoricalColumn":
        if len(set(self.values)) != len(self.values):
            raise ValueError(f"vocabulary of {self.name!r} has duplicates")
        if self.hash_buckets is not None and (self.values or self.rare):
            raise ValueError(f"column {self.name!r} is hashed, so it can have no vocabulary")
        return self


def hash_bucket(text: str, buckets: int) -> int:
    """The id, 1 to `buckets`, of a hashed value: CRC-32 of its UTF-8, the same in every process and release."""
    # JSON can carry half a surrogate pair, which plain UTF-8 refuses.
    return UNKNOWN + 1 + zlib.crc32(text.encode("utf-8", "surrogatepass")) % buckets


class NumericColumn(FrozenModel):
    """A column of finite numbers; the model scales it by mean and standard deviation of the training rows."""

    name: str = Field(min_length=1)
    mean: float
    std: float = Field(gt=0)


class FeatureSchema(FrozenModel):
    """The columns a model was trained on, in the order of its tensors."""

    categorical: tuple[CategoricalColumn, ...] = ()
    numeric: tuple[NumericColumn, ...] = ()

    @model_validator(mode="after")
    def _unique_names(self) -> "FeatureSchema":
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise ValueError(f"a schema needs at least one column and unique names, got {list(self.columns)}")
        return self

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(column.name for column in self.categorical) + tuple(
            column.name for column in self.numeric
        )

    def tensor_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs `categorical` INT64 [-1, C] and `numeric` FP32 [-1, N], each only if it has columns."""
        specs = []
        if self.categorical:
            limits = tuple(column.size for column in self.categorical)
            specs.append(
                TensorSpec(name=CATEGORICAL, datatype="INT64", shape=(-1, len(limits)), limits=limits)
            )
        if self.numeric:
            specs.append(TensorSpec(name=NUMERIC, datatype="FP32", shape=(-1, len(self.numeric))))
        return tuple(specs)

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, NDArray[Any]]:
        """Encode named columns of equal length as the model's input tensors.

        Args:
            columns: Column name → B values. Strings or integers where categorical (unknown values get id 0),
                finite numbers where numeric. Further columns are refused.

        Returns:
            `categorical` int64 [B, C] and `numeric` float32 [B, N], each only if the schema has such columns.

        Raises:
            FeatureError: Missing or unexpected column, unequal lengths, or a value of the wrong kind.
        """
        self._check_names(columns)
        rows = len(columns[self.columns[0]])
        for name in self.columns:
            found = len(columns[name])
            if found != rows:
                raise FeatureError(f"every column needs {rows} values, like the first, {name!r} has {found}")
        tensors: dict[str, NDArray[Any]] = {}
        if self.categorical:
            ids_BC = np.empty((rows, len(self.categorical)), dtype=np.int64)
            for index, category in enumerate(self.categorical):
                ids_BC[:, index] = _encode_categorical(category, columns[category.name])
            tensors[CATEGORICAL] = ids_BC
        if self.numeric:
            numbers_BN = np.empty((rows, len(self.numeric)), dtype=np.float32)
            for index, number in enumerate(self.numeric):
                numbers_BN[:, index] = _encode_numeric(number, columns[number.name])
            tensors[NUMERIC] = numbers_BN
        return tensors

    def _check_names(self, columns: Mapping[str, Sequence[Any]]) -> None:
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise FeatureError(f"missing columns {missing}; expected {list(self.columns)}")
        unexpected = [name for name in columns if name not in self.columns]
        if unexpected:
            raise FeatureError(f"unexpected columns {unexpected}; expected {list(self.columns)}")


def _encode_categorical(column: CategoricalColumn, values: Sequence[Any]) -> list[int]:
    if not set(map(type, values)) <= {str, int}:  # bool is a type of its own here
        for row, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
                raise FeatureError(
                    f"column {column.name!r} row {row}: expected a string or an integer, got {value!r}"
                )
    return column.encode(map(str, values))


def _encode_numeric(column: NumericColumn, values: Sequence[Any]) -> NDArray[np.float32]:
    # Plain numbers go through numpy at once; a loop over 200 rows of many columns would take a tight budget.
    if set(map(type, values)) <= {int, float}:
        with np.errstate(over="ignore"), suppress(OverflowError):
            numbers = np.array(values, dtype=np.float64).astype(np.float32)
            if np.isfinite(numbers).all():
                return numbers
    for row, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise FeatureError(f"column {column.name!r} row {row}: expected a number, got {value!r}")
        if not _fits_float32(value):
            raise FeatureError(
                f"column {column.name!r} row {row}: expected a finite 32-bit number, got {value!r}"
            )
    return np.asarray(values, dtype=np.float32)


def _fits_float32(value: Any) -> bool:
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(float(value))))
    except OverflowError:
        return False
