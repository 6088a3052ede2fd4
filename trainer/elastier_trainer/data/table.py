"""Columns of a Parquet or CSV file, each checked to be what its schema says it is.

Shapes: R rows.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from elastier_trainer.errors import DataError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read these columns of a Parquet or CSV file, told apart by its ending.

    CSV comes as text throughout, so that a category `01` stays `01`; an empty cell is the category "".

    Raises:
        DataError: Missing or unreadable file, another ending, a missing or doubled column, or no rows.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a data file, found {'a folder' if path.exists() else 'nothing'}")
    if not path.name.lower().endswith(PARQUET + CSV):
        raise DataError(f"{path}: expected a data file in one of {', '.join(PARQUET + CSV)}")
    try:
        names = _column_names(path)
        _check_names(path, columns, names)
        table = _read_columns(path, columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot read it: {' '.join(str(error).split())}") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: expected rows, found a header alone")
    return table


def categories(table: pa.Table, name: str) -> pa.Array:
    """A column of text or integers as R strings.

    Raises:
        DataError: Another type, or a null; says the first row.
    """
    column = _plain(table.column(name))
    if not (_is_text(column.type) or pa.types.is_integer(column.type)):
        raise DataError(f"column {name!r}: expected text or integers for a category, got {column.type}")
    _check_present(column, name)
    return column.cast(pa.large_string())


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of finite numbers, [R].

    Raises:
        DataError: Text, a null, NaN, infinity, or more than 32-bit floats hold; says the first row.
    """
    column = _blank_to_null(_plain(table.column(name)))
    if _is_text(column.type):
        column = _parse_numbers(column, name)
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_decimal(column.type)
    ):
        raise DataError(f"column {name!r}: expected numbers, got {column.type}")
    _check_present(column, name)
    values_R: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    bad_R = ~(np.abs(values_R) <= _FLOAT32_MAX)
    if bad_R.any():
        row = int(np.argmax(bad_R))
        raise DataError(
            f"column {name!r} row {row}: expected a finite 32-bit number, got {values_R[row]} "
            f"({int(bad_R.sum())} such rows)"
        )
    return values_R


def labels(table: pa.Table, name: str) -> NDArray[np.float32]:
    """A column of labels, each 0 or 1 (or false and true), [R].

    Raises:
        DataError: As `numbers`, or other values; says which and how many.
    """
    column = table.column(name)
    if pa.types.is_boolean(column.type):
        table = table.set_column(table.column_names.index(name), name, column.cast(pa.int8()))
    values_R = numbers(table, name)
    found, counts = np.unique(values_R, return_counts=True)
    if not set(found) <= {0.0, 1.0}:
        shown = ", ".join(
            f"{value:g} ({count} rows)" for value, count in zip(found[:6], counts, strict=False)
        )
        more = f", … {len(found)} values in all" if len(found) > 6 else ""
        raise DataError(f"label {name!r}: expected 0 and 1, found {shown}{more}")
    return values_R.astype(np.float32)


def row_ids(table: pa.Table, name: str | None) -> NDArray[np.int64]:
    """A column of unique integers, or the row numbers where there is none, [R].

    Raises:
        DataError: Not integers, a null, or a duplicate; says the first.
    """
    if name is None:
        return np.arange(table.num_rows, dtype=np.int64)
    column = _blank_to_null(_plain(table.column(name)))
    _check_present(column, name)
    try:
        ids_R: NDArray[np.int64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DataError(f"row id {name!r}: expected 64-bit integers: {error}") from error
    first = np.unique(ids_R, return_index=True)[1]
    if len(first) != len(ids_R):
        doubled_R = np.ones(len(ids_R), dtype=bool)
        doubled_R[first] = False
        row = int(np.argmax(doubled_R))
        raise DataError(
            f"row id {name!r} row {row}: {ids_R[row]} came before; expected unique ids, "
            f"found {int(doubled_R.sum())} duplicates"
        )
    return ids_R


def _column_names(path: Path) -> list[str]:
    if path.name.lower().endswith(PARQUET):
        return list(pq.read_schema(path).names)
    with csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _check_names(path: Path, expected: Sequence[str], found: Sequence[str]) -> None:
    counts = Counter(found)
    missing = [name for name in expected if name not in counts]
    if missing:
        raise DataError(f"{path}: missing columns {missing}; it has {list(found)}")
    doubled = [name for name in expected if counts[name] > 1]
    if doubled:
        raise DataError(f"{path}: expected one column of each name, found several of {doubled}")


def _read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    if path.name.lower().endswith(PARQUET):
        return pq.read_table(path, columns=list(columns)).combine_chunks()
    options = csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.large_string())
    )
    return csv.read_csv(path, convert_options=options).combine_chunks()


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks()


def _blank_to_null(column: pa.Array) -> pa.Array:
    if not _is_text(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_present(column: pa.Array, name: str) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(
            f"column {name!r} row {row}: expected a value, found none ({column.null_count} such rows)"
        )


def _parse_numbers(column: pa.Array, name: str) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except pa.ArrowException:
        row, value = next((row, value) for row, value in enumerate(column) if not _is_number(value))
        raise DataError(f"column {name!r} row {row}: expected a number, got {value.as_py()!r}") from None


def _is_number(value: Any) -> bool:
    try:
        value.cast(pa.float64())
    except pa.ArrowException:
        return False
    return True
