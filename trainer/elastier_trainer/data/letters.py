"""The letters data set: which of the 26 capital letters does a distorted print show, by 16 measures of its pixels?

Source: letter recognition by David J. Slate, UCI Machine Learning Repository (CC-BY 4.0,
https://doi.org/10.24432/C5ZP40), as the file `LetterRecognition.rda` of R's package mlbench, which Debian calls
r-cran-mlbench. All 16 columns are integers from 0 to 15; an `x.box` of the source is an `x_box` here.
"""

import lzma
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from elastier_contract import atomic
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data.schema import DataSchema, LabelSchema, RandomSplit, schema_text
from elastier_trainer.errors import DataError

DATA_FILE = "letters.parquet"
SCHEMA_FILE = "letters.schema.yaml"
SOURCE_FILE = "LetterRecognition.rda"
INSTALLED = Path("/usr/lib/R/site-library/mlbench/data")
INSTALL = (
    "apt-get install r-cran-mlbench, or without R: "
    "apt-get download r-cran-mlbench && dpkg -x r-cran-mlbench_*.deb FOLDER, then --source FOLDER"
)
ROWS = 20_000
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
MEASURES = (
    *("x_box", "y_box", "width", "high", "onpix", "x_bar", "y_bar", "x2bar", "y2bar", "xybar"),
    *("x2ybr", "xy2br", "x_ege", "xegvy", "y_ege", "yegvx"),
)
LETTERS_SCHEMA = DataSchema(
    label=LabelSchema(name="lettr", kind="multiclass"),
    row_id="letter_id",
    numeric=MEASURES,
    split=RandomSplit(seed=0, train=0.7, validation=0.1, test=0.2),
)

_STEPS = 3
_UNREADABLE = (OSError, EOFError, LookupError, NotImplementedError, ValueError, lzma.LZMAError, zlib.error)
"""What rdata raises on a file that is cut or not of R."""


@dataclass(frozen=True, kw_only=True)
class LettersFiles:
    """Where the letters data set was written."""

    data: Path
    schema: Path
    rows: int
    classes: int


def build_letters(out: Path, source: Path = INSTALLED, progress: Progress = no_progress) -> LettersFiles:
    """Write `letters.parquet` and `letters.schema.yaml`, each atomically; same source, same bytes.

    Args:
        out: The folder, made if need be.
        source: The source's file, its folder, or the folder into which Debian's package was unpacked.
        progress: Told after every step.

    Raises:
        DataError: No source there, or another one than this was made for.
    """
    path = find_source(source)
    progress("letters", 0, _STEPS, "reading")
    letters = read_source(path)
    if len(letters) != ROWS:
        raise DataError(f"{path}: expected {ROWS} letters, found {len(letters)}")
    progress("letters", 1, _STEPS, "writing")
    table = as_table(letters)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    files = LettersFiles(
        data=out / DATA_FILE,
        schema=out / SCHEMA_FILE,
        rows=table.num_rows,
        classes=len(table["lettr"].unique()),
    )
    atomic.write_file(files.data, sink.getvalue().to_pybytes())
    progress("letters", 2, _STEPS, files.data.name)
    atomic.write_file(files.schema, schema_text(LETTERS_SCHEMA).encode())
    progress("letters", _STEPS, _STEPS, f"{files.rows:,} rows")
    return files


def find_source(source: Path) -> Path:
    """The file `LetterRecognition.rda`, given by itself, in its folder, or in an unpacked package.

    Raises:
        DataError: None of these.
    """
    unpacked = source / INSTALLED.relative_to("/")
    for path in (source, source / SOURCE_FILE, unpacked / SOURCE_FILE):
        if path.is_file():
            return path
    raise DataError(f"{source}: expected {SOURCE_FILE} of R's package mlbench, found none: {INSTALL}")


def read_source(path: Path) -> pd.DataFrame:
    """The letters as they come, with `_` for `.` in names.

    Raises:
        DataError: Not a file of R, without the letters, or with values that they do not have.
    """
    letters = _read_objects(path).get("LetterRecognition")
    if not isinstance(letters, pd.DataFrame):
        raise DataError(f"{path}: expected the table LetterRecognition, found none")
    letters = letters.rename(columns=lambda name: name.replace(".", "_"))
    expected = ["lettr", *MEASURES]
    if list(letters.columns) != expected:
        raise DataError(f"{path}: expected the columns {expected}, found {list(letters.columns)}")
    strange = sorted(set(letters["lettr"].astype(str)) - set(LETTERS))
    if strange:
        raise DataError(f"{path}: expected capital letters as classes, found {strange}")
    measures = letters[list(MEASURES)].to_numpy()
    if not (np.isin(measures, range(16))).all():
        raise DataError(
            f"{path}: expected whole numbers from 0 to 15, found {measures.min()} to {measures.max()}"
        )
    return letters.reset_index(drop=True)


def as_table(letters: pd.DataFrame) -> pa.Table:
    """The schema's columns, in the order of the source; `letter_id` is a row of the source."""
    return pa.table(
        {
            "letter_id": pa.array(np.arange(len(letters)), pa.int64()),
            "lettr": pa.array(letters["lettr"].astype(str), pa.string()),
            **{name: pa.array(letters[name].astype(np.float32)) for name in MEASURES},
        }
    )


def _read_objects(path: Path) -> dict[str, Any]:
    """Name → object of a file of R's `save`."""
    try:
        import rdata  # noqa: PLC0415 - only the extra `study` has it
    except ImportError as error:
        raise DataError("expected the package rdata, found none: pip install 'elastier[study]'") from error
    try:
        with warnings.catch_warnings():
            # The file is older than R's notes on encodings; that it is no file of R is an error below.
            warnings.simplefilter("ignore", UserWarning)
            objects = rdata.read_rda(path)
    except _UNREADABLE as error:
        raise DataError(f"{path}: expected a file of R, cannot read it: {error}") from error
    return objects if isinstance(objects, dict) else {}
