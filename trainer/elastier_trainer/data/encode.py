"""From checked columns to ids and numbers: what training rows teach the encoder, and the encoder at work.

Shapes: R rows of a part, C categorical columns, N numeric columns.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elastier_contract.features import (
    CATEGORICAL,
    NUMERIC,
    CategoricalColumn,
    FeatureSchema,
    NumericColumn,
)
from elastier_trainer.data.schema import CategorySchema
from elastier_trainer.data.stream import Part
from elastier_trainer.data.table import categories, numbers
from elastier_trainer.errors import DataError

_LONG_CHARACTERS = 16
"""Values of more characters on average, most of them in one row only, are text or keys, not categories."""
_MOST = 0.5
_FEW_ROWS = 50
_MANY_VALUES = 200_000
"""So many different values are looked at before the whole file is read: they take memory."""


class VocabularyCounter:
    """Counts a categorical column's values over training rows."""

    def __init__(self, schema: CategorySchema) -> None:
        self._schema = schema
        self._counts: Counter[str] = Counter()

    def add(self, texts: pa.Array) -> None:
        """Count further rows.

        Raises:
            DataError: As `column`, where there are too many values to go on.
        """
        if self._schema.hash_buckets is not None:
            return
        found = pc.value_counts(texts)
        values, counts = found.field("values").to_pylist(), found.field("counts").to_pylist()
        self._counts.update(dict(zip(values, counts, strict=True)))
        if len(self._counts) > _MANY_VALUES:
            self._refuse_text()

    def column(self) -> CategoricalColumn:
        """The column as it is encoded; its values are sorted.

        Raises:
            DataError: Most values are long and in one row only.
        """
        name, buckets = self._schema.name, self._schema.hash_buckets
        if buckets is not None:
            return CategoricalColumn(name=name, hash_buckets=buckets)
        self._refuse_text()
        least = self._schema.min_count or 1
        kept = [value for value, count in self._counts.items() if count >= least]
        if self._schema.max_values is not None:
            kept.sort(key=lambda value: (-self._counts[value], value))
            kept = kept[: self._schema.max_values]
        return CategoricalColumn(name=name, values=tuple(sorted(kept)), rare=len(kept) < len(self._counts))

    def _refuse_text(self) -> None:
        rows, values = self._counts.total(), len(self._counts)
        if rows < _FEW_ROWS or values <= _MOST * rows:
            return
        characters = sum(map(len, self._counts)) / values
        if characters > _LONG_CHARACTERS:
            raise DataError(
                f"column {self._schema.name!r}: expected categories, found {values:,} different values of "
                f"{characters:.0f} characters on average in {rows:,} training rows: that is text or a key. "
                f"Leave it out, or hash it: {{name: {self._schema.name}, hash_buckets: 4096}}"
            )


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Count, mean, deviation and range of some numbers."""

    count: int
    mean: float
    std: float
    low: float
    high: float

    def joined(self, other: "Moments") -> "Moments":
        """Of both together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        share, shift = other.count / count, other.mean - self.mean
        variance = (1 - share) * self.std**2 + share * other.std**2 + share * (1 - share) * shift**2
        return Moments(
            count=count,
            mean=self.mean + share * shift,
            std=math.sqrt(variance),
            low=min(self.low, other.low),
            high=max(self.high, other.high),
        )

    def column(self, name: str) -> NumericColumn:
        """The column as it is scaled; a constant one gets deviation 1."""
        # The model divides by a 32-bit number: what rounds to 0 there is as good as constant.
        constant = self.low == self.high or self.std < np.finfo(np.float32).tiny
        return NumericColumn(name=name, mean=self.mean, std=1.0 if constant else self.std)


def moments(values_R: NDArray[np.float64]) -> Moments:
    """Of at least one number."""
    return Moments(
        count=len(values_R),
        mean=float(values_R.mean()),
        std=float(values_R.std()),
        low=float(values_R.min()),
        high=float(values_R.max()),
    )


class FeatureFitter:
    """Learns vocabularies and scales from training rows, part by part."""

    def __init__(self, categorical: Sequence[CategorySchema], numeric: Sequence[str]) -> None:
        self._counters = {category.name: VocabularyCounter(category) for category in categorical}
        self._numeric = tuple(numeric)
        self._moments: dict[str, Moments] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it learns from."""
        return (*self._counters, *self._numeric)

    def add(self, part: Part, train_R: NDArray[np.bool_]) -> None:
        """Check all rows of a part, and learn from those that train.

        Raises:
            DataError: A value that is no category or number; says column and row.
        """
        chosen = pa.array(train_R)
        for name, counter in self._counters.items():
            counter.add(categories(part.table, name, first_row=part.first_row).filter(chosen))
        for name in self._numeric:
            values = numbers(part.table, name, first_row=part.first_row)[train_R]
            if len(values):
                found = moments(values)
                before = self._moments.get(name)
                self._moments[name] = found if before is None else before.joined(found)

    def features(self) -> FeatureSchema:
        """What was learned, columns in their order.

        Raises:
            DataError: A categorical column holds text.
        """
        return FeatureSchema(
            categorical=tuple(counter.column() for counter in self._counters.values()),
            numeric=tuple(self._moments[name].column(name) for name in self._numeric),
        )


class PartEncoder:
    """Does what `FeatureSchema.encode` does, but column by column: a part has many rows."""

    def __init__(self, features: FeatureSchema) -> None:
        self._features = features
        self._values = {
            column.name: pa.array(column.values, pa.large_string()) for column in features.categorical
        }

    def encode(self, part: Part) -> dict[str, NDArray[Any]]:
        """The inputs of a part's rows.

        Returns:
            `categorical` int64 [R, C] and `numeric` float32 [R, N], each only if there are such columns.

        Raises:
            DataError: As `FeatureFitter.add`.
        """
        names = {
            column.name: categories(part.table, column.name, first_row=part.first_row)
            for column in self._features.categorical
        }
        values = {
            column.name: numbers(part.table, column.name, first_row=part.first_row)
            for column in self._features.numeric
        }
        return self.encode_columns(names, values)

    def encode_columns(
        self, texts: Mapping[str, pa.Array], values: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[Any]]:
        """The inputs of columns that were checked; returns as `encode`."""
        inputs: dict[str, NDArray[Any]] = {}
        if self._features.categorical:
            columns = [self._ids(column, texts[column.name]) for column in self._features.categorical]
            inputs[CATEGORICAL] = np.stack(columns, axis=1)
        if self._features.numeric:
            inputs[NUMERIC] = np.stack(
                [values[column.name].astype(np.float32) for column in self._features.numeric], axis=1
            )
        return inputs

    def _ids(self, column: CategoricalColumn, texts: pa.Array) -> NDArray[np.int64]:
        if column.hash_buckets is not None:
            encoded = texts.dictionary_encode()
            buckets = np.array(column.encode(encoded.dictionary.to_pylist()), dtype=np.int64)
            hashed_R: NDArray[np.int64] = buckets[encoded.indices.to_numpy(zero_copy_only=False)]
            return hashed_R
        found = pc.index_in(texts, value_set=self._values[column.name])
        ids_R: NDArray[np.int64] = pc.fill_null(pc.add(found, 1), column.other).to_numpy(zero_copy_only=False)
        return ids_R.astype(np.int64)
