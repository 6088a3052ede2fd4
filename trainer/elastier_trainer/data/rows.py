"""What a data file says about its rows beside their features: labels, ids, groups, and what splits them.

Shapes: R rows of the data set.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elastier_trainer.data.dataset import SPLITS
from elastier_trainer.data.labels import LabelReader, RawLabels
from elastier_trainer.data.schema import ColumnSplit, DataSchema, GroupSplit, TimeSplit
from elastier_trainer.data.stream import Part, RowStream
from elastier_trainer.data.table import categories, check_unique, integers, time_type, times
from elastier_trainer.errors import DataError

_NOTHING = np.empty(0)


@dataclass(frozen=True, kw_only=True)
class RowFacts:
    """All that is known of rows before they are encoded; some tens of bytes a row, whatever its features."""

    labels: RawLabels
    row_ids_R: NDArray[np.int64]
    groups_R: NDArray[np.uint64] | None
    """A hash of each row's group, where the schema has one."""
    keys_R: NDArray[Any]
    """What the schema's split goes by; see `split_rows`."""


class RowReader:
    """Collects facts of rows part by part."""

    def __init__(self, schema: DataSchema) -> None:
        self._schema = schema
        self._labels = LabelReader(schema.target, optional=schema.unlabelled == "keep")
        self._ids: list[NDArray[np.int64]] = []
        self._groups: list[NDArray[np.uint64]] = []
        self._keys: list[NDArray[Any]] = []
        self._time_type: pa.DataType | None = None

    def add(self, part: Part) -> None:
        """Read further rows.

        Raises:
            DataError: A value that is not what its column should hold; says column and row.
        """
        schema, table, first_row = self._schema, part.table, part.first_row
        self._labels.add(part)
        if schema.row_id is not None:
            self._ids.append(integers(table, schema.row_id, first_row=first_row))
        if schema.group is not None:
            self._groups.append(_hashes(categories(table, schema.group, first_row=first_row)))
        match schema.split:
            case TimeSplit(column=name):
                if self._time_type is None:
                    self._time_type = time_type(table, name)
                self._keys.append(times(table, name, self._time_type, first_row=first_row))
            case ColumnSplit(column=name):
                self._keys.append(_named_splits(table, name, first_row))

    def facts(self) -> RowFacts:
        """All that was read.

        Raises:
            DataError: A row id that comes twice, or labels that are not 0 and 1 where they should be.
        """
        labels = self._labels.labels()
        groups_R = np.concatenate(self._groups) if self._groups else None
        keys_R = np.concatenate(self._keys) if self._keys else _NOTHING
        if isinstance(self._schema.split, GroupSplit) and groups_R is not None:
            keys_R = groups_R
        return RowFacts(
            labels=labels, row_ids_R=self._row_ids(len(labels.values_R)), groups_R=groups_R, keys_R=keys_R
        )

    def _row_ids(self, rows: int) -> NDArray[np.int64]:
        if self._schema.row_id is None:
            return np.arange(rows, dtype=np.int64)
        ids_R = np.concatenate(self._ids)
        check_unique(ids_R, self._schema.row_id)
        return ids_R


def read_facts(stream: RowStream, schema: DataSchema) -> RowFacts:
    """One pass over a data file.

    Raises:
        DataError: No rows, or as `RowReader`.
    """
    reader = RowReader(schema)
    rows = 0
    for part in stream.parts(schema.row_columns):
        reader.add(part)
        rows += len(part.table)
    if not rows:
        raise DataError(f"{stream.path}: expected rows, found a header alone")
    return reader.facts()


def _hashes(texts: pa.Array) -> NDArray[np.uint64]:
    encoded = texts.dictionary_encode()
    digests = b"".join(
        hashlib.blake2b(text.encode(), digest_size=8).digest() for text in encoded.dictionary.to_pylist()
    )
    found = np.frombuffer(digests, dtype="<u8").astype(np.uint64)
    hashes_R: NDArray[np.uint64] = found[encoded.indices.to_numpy(zero_copy_only=False)]
    return hashes_R


def _named_splits(table: pa.Table, name: str, first_row: int) -> NDArray[np.int8]:
    texts = categories(table, name, first_row=first_row)
    found = pc.index_in(texts, value_set=pa.array(SPLITS, pa.large_string()))
    if found.null_count:
        row = int(np.argmax(found.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"column {name!r} row {first_row + row}: expected one of {', '.join(SPLITS)}, "
            f"got {texts[row].as_py()!r}"
        )
    indices_R: NDArray[np.int8] = found.to_numpy(zero_copy_only=False).astype(np.int8)
    return indices_R
