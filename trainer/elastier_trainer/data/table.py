"""Columns of a table, each checked to be what its schema says it is.

Shapes: R rows of the table.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from elastier_trainer.data.stream import read_table as read_table  # noqa: PLC0414 - part of this module too
from elastier_trainer.errors import DataError

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def categories(table: pa.Table, name: str, *, first_row: int = 0, optional: bool = False) -> pa.Array:
    """A column of text or integers as R strings.

    Args:
        table: It has the column.
        name: Of the column.
        first_row: Of the table in its file, for the messages.
        optional: Let nulls and empty text through, as null.

    Raises:
        DataError: Another type, a null, or text that is not UTF-8; says the first row.
    """
    column = _plain(table.column(name))
    if pa.types.is_null(column.type):
        column = column.cast(pa.large_string())
    if not (_is_text(column.type) or pa.types.is_integer(column.type)):
        raise DataError(f"column {name!r}: expected text or integers for a category, got {column.type}")
    if optional:
        column = blank_to_null(column)
    else:
        check_present(column, name, first_row=first_row)
    if _is_text(column.type):
        _check_utf8(column, name, first_row)
    return column.cast(pa.large_string())


def numbers(table: pa.Table, name: str, *, first_row: int = 0, optional: bool = False) -> NDArray[np.float64]:
    """A column of finite numbers, [R].

    Args:
        table: It has the column.
        name: Of the column.
        first_row: Of the table in its file, for the messages.
        optional: Let nulls and empty text through, as NaN.

    Raises:
        DataError: Text, a null, NaN, infinity, or more than 32-bit floats hold; says the first row.
    """
    column = blank_to_null(_plain(table.column(name)))
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    if _is_text(column.type):
        column = _parse_numbers(column, name, first_row)
    if not _is_number_type(column.type):
        raise DataError(f"column {name!r}: expected numbers, got {column.type}")
    if not optional:
        check_present(column, name, first_row=first_row)
    values_R: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    bad_R = ~(np.abs(values_R) <= _FLOAT32_MAX)
    if column.null_count:
        bad_R &= column.is_valid().to_numpy(zero_copy_only=False)
    if bad_R.any():
        row = int(np.argmax(bad_R))
        raise DataError(
            f"column {name!r} row {first_row + row}: expected a finite 32-bit number, got {values_R[row]}"
        )
    return values_R


def time_type(table: pa.Table, name: str) -> pa.DataType:
    """How the first value of a column of times is read; every other value is read alike.

    Raises:
        DataError: It is null, or no time.
    """
    column = blank_to_null(_plain(table.column(name)))
    check_present(column[:1], name)
    if not _is_text(column.type):
        return column.type
    kinds = (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"))
    kind = next((kind for kind in kinds if _casts(column[0], kind)), None)
    if kind is None:
        raise DataError(
            f"column {name!r} row 0: expected a number, a date or an ISO 8601 time, got {column[0].as_py()!r}"
        )
    return kind


def times(table: pa.Table, name: str, kind: pa.DataType, *, first_row: int = 0) -> NDArray[np.float64]:
    """A column of times as numbers that order them, [R]: a number as it is, else microseconds since 1970.

    Raises:
        DataError: Not of that type, or a null; says the first row.
    """
    column = blank_to_null(_plain(table.column(name)))
    check_present(column, name, first_row=first_row)
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        return numbers(table, name, first_row=first_row)
    if _is_text(column.type):
        column = _parse_times(column, name, kind, first_row)
    # A cast to microseconds of what has nanoseconds cuts them off, which keeps the order.
    column = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
    values_R: NDArray[np.float64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64)
    return values_R


def row_ids(table: pa.Table, name: str | None) -> NDArray[np.int64]:
    """A column of unique integers, or the row numbers where there is none, [R].

    Raises:
        DataError: Not integers, a null, or a duplicate; says the first.
    """
    if name is None:
        return np.arange(table.num_rows, dtype=np.int64)
    ids_R = integers(table, name)
    check_unique(ids_R, name)
    return ids_R


def integers(table: pa.Table, name: str, *, first_row: int = 0) -> NDArray[np.int64]:
    """A column of row ids, [R].

    Raises:
        DataError: Not integers, or a null; says the first.
    """
    column = blank_to_null(_plain(table.column(name)))
    check_present(column, name, first_row=first_row)
    try:
        ids_R: NDArray[np.int64] = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise DataError(f"row id {name!r}: expected 64-bit integers: {error}") from error
    return ids_R


def check_unique(ids_R: NDArray[np.int64], name: str) -> None:
    """Refuse row ids that come twice.

    Raises:
        DataError: Says the first that came before.
    """
    ordered = np.sort(ids_R)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    first = np.unique(ids_R, return_index=True)[1]
    doubled_R = np.ones(len(ids_R), dtype=bool)
    doubled_R[first] = False
    row = int(np.argmax(doubled_R))
    raise DataError(
        f"row id {name!r} row {row}: {ids_R[row]} came before; expected unique ids, "
        f"found {int(doubled_R.sum())} duplicates"
    )


def blank_to_null(column: pa.Array) -> pa.Array:
    """Empty text as null."""
    if not _is_text(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)


def check_present(column: pa.Array, name: str, *, first_row: int = 0, advice: str = "") -> None:
    """Refuse a column with nulls.

    Raises:
        DataError: Says the first row, and the advice.
    """
    if column.null_count:
        row = first_row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise DataError(f"column {name!r} row {row}: expected a value, found none{advice}")


def _plain(column: pa.ChunkedArray) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.combine_chunks()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number_type(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _check_utf8(column: pa.Array, name: str, first_row: int) -> None:
    """A Parquet file may call any bytes text."""
    try:
        column.validate(full=True)
    except pa.ArrowException:
        row, found = next(
            (row, value) for row, value in enumerate(column.cast(pa.large_binary())) if not _is_utf8(value)
        )
        raise DataError(
            f"column {name!r} row {first_row + row}: expected UTF-8 text, got {found.as_py()!r}"
        ) from None


def _is_utf8(value: Any) -> bool:
    try:
        (value.as_py() or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _parse_numbers(column: pa.Array, name: str, first_row: int) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except pa.ArrowException:
        row, value = next((row, value) for row, value in enumerate(column) if not _is_number(value))
        raise DataError(
            f"column {name!r} row {first_row + row}: expected a number, got {value.as_py()!r}"
        ) from None


def _is_number(value: Any) -> bool:
    return _casts(value, pa.float64())


def _parse_times(column: pa.Array, name: str, kind: pa.DataType, first_row: int) -> pa.Array:
    try:
        return column.cast(kind)
    except pa.ArrowException:
        row, value = next((row, value) for row, value in enumerate(column) if not _casts(value, kind))
        zone = "with" if kind.tz else "without"
        raise DataError(
            f"column {name!r} row {first_row + row}: expected a date or an ISO 8601 time {zone} a time zone, "
            f"as in row 0, got {value.as_py()!r}"
        ) from None


def _casts(value: Any, kind: pa.DataType) -> bool:
    try:
        value.cast(kind)
    except pa.ArrowException:
        return False
    return True
