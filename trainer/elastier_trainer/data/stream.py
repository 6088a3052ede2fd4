"""A data file as parts of consecutive rows, again and again, whether it fits in memory or not.

Shapes: R rows.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from elastier_trainer.errors import DataError

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".csv.gz")
MEMORY_BYTES = 2**30
"""A table that takes less is held in memory."""

_CELL_BYTES = 16
"""A cell of a Parquet file as it is read, and once more as it is encoded."""
_CSV_GROWTH, _GZIP_GROWTH = 2, 10
_PART_CELLS = 2**18
_PART_ROWS = 65_536
_BUFFER_BYTES = 2**16
_CSV_BLOCK_BYTES = 2**21
# A cell may hold a line break, between quotes; without this one at the end of a block tears its row.
_CSV_PARSING = csv.ParseOptions(newlines_in_values=True)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Consecutive rows of a file."""

    table: pa.Table
    first_row: int
    """Row of the file that is the table's first, from 0."""

    @property
    def rows(self) -> slice:
        """Where its rows are among all."""
        return slice(self.first_row, self.first_row + len(self.table))


@dataclass(frozen=True, kw_only=True)
class RowStream:
    """Some columns of a data file."""

    path: Path
    table: pa.Table | None
    """All of them, where that fits in memory."""

    def parts(self, columns: Sequence[str]) -> Iterator[Part]:
        """One pass over all rows, in the order of the file.

        Args:
            columns: Those that the pass needs, of the stream's; parts of a table in memory have all.

        Raises:
            DataError: Rows that cannot be read, such as a CSV row with too few cells; says which.
        """
        if self.table is not None:
            yield Part(table=self.table, first_row=0)
            return
        first_row = 0
        batches = _scan(self.path, columns)
        while (batch := self._next(batches)) is not None:
            yield Part(table=pa.Table.from_batches([batch]), first_row=first_row)
            first_row += len(batch)

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        try:
            return next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.path, error) from error


def open_stream(path: Path, columns: Sequence[str], *, memory_bytes: int = MEMORY_BYTES) -> RowStream:
    """These columns of a Parquet or CSV file, told apart by its ending.

    Args:
        path: The file.
        columns: Their names.
        memory_bytes: A table that takes about this much or more is read in parts.

    Raises:
        DataError: Missing or unreadable file, another ending, a missing or doubled column, or no rows.
    """
    check_columns(path, columns)
    try:
        small = _estimated_bytes(path, len(columns)) < memory_bytes
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    return RowStream(path=path, table=read_table(path, columns) if small else None)


def read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Read these columns of a Parquet or CSV file, told apart by its ending.

    CSV comes as text throughout, so that a category `01` stays `01`; an empty cell is the category "".

    Raises:
        DataError: Missing or unreadable file, another ending, a missing or doubled column, or no rows.
    """
    check_columns(path, columns)
    try:
        table = _read_columns(path, columns)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
    if table.num_rows == 0:
        raise DataError(f"{path}: expected rows, found a header alone")
    return table


def check_columns(path: Path, expected: Sequence[str]) -> None:
    """Look at the file's head.

    Raises:
        DataError: Missing or unreadable file, another ending, or a missing or doubled column.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected a data file, found {'a folder' if path.exists() else 'nothing'}")
    if not path.name.lower().endswith(PARQUET + CSV):
        raise DataError(f"{path}: expected a data file in one of {', '.join(PARQUET + CSV)}")
    try:
        found = _column_names(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise unreadable(path, error) from error
    counts = Counter(found)
    missing = [name for name in expected if name not in counts]
    if missing:
        raise DataError(f"{path}: missing columns {missing}; it has {found}")
    doubled = [name for name in expected if counts[name] > 1]
    if doubled:
        raise DataError(f"{path}: expected one column of each name, found several of {doubled}")


def unreadable(path: Path, error: Exception) -> DataError:
    """What to raise where Arrow cannot read a file; its CSV row numbers become ours, from 0 after the header."""
    text = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 2}", " ".join(str(error).split()))
    column = re.search(r"CSV column #(\d+)", text)
    if column is not None:
        text = text.replace(column[0], f"column {_column_names(path)[int(column[1])]!r}")
    return DataError(f"{path}: cannot read it: {text}")


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(PARQUET)


def _column_names(path: Path) -> list[str]:
    if _is_parquet(path):
        return list(pq.read_schema(path).names)
    # One thread alone counts rows, and names the one that is wrong.
    with csv.open_csv(path, csv.ReadOptions(use_threads=False), _CSV_PARSING) as reader:
        return list(reader.schema.names)


def _estimated_bytes(path: Path, columns: int) -> int:
    if _is_parquet(path):
        return int(pq.read_metadata(path).num_rows) * columns * _CELL_BYTES
    return path.stat().st_size * (_GZIP_GROWTH if path.name.lower().endswith(".gz") else _CSV_GROWTH)


def _read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    if _is_parquet(path):
        return pq.read_table(path, columns=list(columns)).combine_chunks()
    try:
        table = csv.read_csv(path, None, _CSV_PARSING, _as_text(columns))
    except pa.ArrowInvalid:
        # Only one thread alone counts rows; this time the message names the one that is wrong.
        one = csv.ReadOptions(use_threads=False)
        table = csv.read_csv(path, one, _CSV_PARSING, _as_text(columns))
    return table.combine_chunks()


def _scan(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches of a quarter of a million cells.

    Not by `pyarrow.dataset`: its scanner decodes whole row groups, several at a time.
    """
    if _is_parquet(path):
        rows = max(1, min(_PART_ROWS, _PART_CELLS // max(1, len(columns))))
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield from file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False)
    else:
        blocks = csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False)
        with csv.open_csv(path, blocks, _CSV_PARSING, _as_text(columns)) as reader:
            yield from (batch for batch in reader if len(batch))


def _as_text(columns: Sequence[str]) -> csv.ConvertOptions:
    return csv.ConvertOptions(
        include_columns=list(columns), column_types=dict.fromkeys(columns, pa.large_string())
    )
