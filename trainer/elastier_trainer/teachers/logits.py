"""A teacher's logits in a file, by row id: what a student learns from when the teacher itself is not there.

A Parquet file with `row_id` int64 and float32 logits: `logit` where a row has one output, `logit_0`,
`logit_1` … where it has several, in the order of the classes. In a regression the logit is the label itself,
in its unit. The file's metadata say which teacher and which data. It may hold more rows than a data set has,
and one that was made elsewhere may be CSV, and come without metadata.

Shapes: R rows of the data set, L rows of the file, C outputs a row.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pyarrow import csv
from torch import Tensor

from elastier_contract import atomic
from elastier_trainer.data.stream import PARQUET, read_table
from elastier_trainer.data.table import numbers, row_ids
from elastier_trainer.errors import DataError
from elastier_trainer.task import RegressionTask, Task

ROW_ID = "row_id"
LOGIT = "logit"
_TEACHER = b"elastier.teacher"
_DATA_SHA256 = b"elastier.data_sha256"
_SHOWN = 5


def logit_columns(outputs: int) -> tuple[str, ...]:
    """Names of the columns that hold a row's logits."""
    return (LOGIT,) if outputs == 1 else tuple(f"{LOGIT}_{output}" for output in range(outputs))


def write_logits(path: Path, row_ids_R: Tensor, logits: Tensor, *, teacher: str, data_sha256: str) -> None:
    """Write a logits file, atomically; equal logits give equal bytes.

    Args:
        path: The file, ending in .parquet.
        row_ids_R: int64, unique.
        logits: Finite numbers [R, C], or [R] for one output.
        teacher: Kind of the teacher.
        data_sha256: Digest of the data the teacher learned from.

    Raises:
        DataError: Shapes do not fit, or a logit is not finite.
    """
    logits_RC = logits.unsqueeze(1) if logits.ndim == 1 else logits
    if row_ids_R.ndim != 1 or logits_RC.ndim != 2 or len(row_ids_R) != len(logits_RC) or not logits.numel():
        raise DataError(
            f"expected logits per row id, got {tuple(row_ids_R.shape)} ids, {tuple(logits.shape)} logits"
        )
    if not bool(torch.isfinite(logits).all()):
        raise DataError(f"expected finite logits, got {int((~torch.isfinite(logits)).sum())} that are not")
    values_RC = logits_RC.numpy().astype(np.float32)
    columns = {
        name: pa.array(values_RC[:, output], pa.float32())
        for output, name in enumerate(logit_columns(values_RC.shape[1]))
    }
    table = pa.table({ROW_ID: pa.array(row_ids_R.numpy(), pa.int64()), **columns})
    table = table.replace_schema_metadata({_TEACHER: teacher, _DATA_SHA256: data_sha256})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    atomic.write_file(path, sink.getvalue().to_pybytes())


def read_logits(path: Path, row_ids_R: Tensor, *, outputs: int, data_sha256: str | None) -> Tensor:
    """Read the logits of these rows, float32 [R, C], in their order.

    Args:
        path: The file.
        row_ids_R: int64, the data set's.
        outputs: C, as the task says.
        data_sha256: Digest of the data set, compared with the file's where it has one; None compares nothing.

    Raises:
        DataError: Not such a file, of other data, of another number of outputs, a logit that is not finite,
            or rows without logits.
    """
    columns = logit_columns(outputs)
    table = read_table(path, (ROW_ID, *columns))
    _check_outputs(path, columns)
    try:
        ids_L = row_ids(table, ROW_ID)
        logits_LC = np.stack([numbers(table, name).astype(np.float32) for name in columns], axis=1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    written = (table.schema.metadata or {}).get(_DATA_SHA256, b"").decode()
    if data_sha256 is not None and written and written != data_sha256:
        raise DataError(
            f"{path}: expected logits for data with digest {data_sha256[:12]}, "
            f"these are for {written[:12]}: train the teacher on this data and schema"
        )
    return torch.from_numpy(logits_LC[_find(ids_L, row_ids_R.numpy(), path)])


def as_outputs(logits_RC: Tensor, task: Task) -> Tensor:
    """A teacher's logits as the task's outputs: a regression's come in the label's unit, and are standardised."""
    if isinstance(task, RegressionTask):
        return (logits_RC - task.label_mean) / task.label_std
    return logits_RC


def _check_outputs(path: Path, expected: Sequence[str]) -> None:
    found = [name for name in _column_names(path) if name == LOGIT or name.startswith(f"{LOGIT}_")]
    if set(found) != set(expected):
        raise DataError(f"{path}: expected the logits {list(expected)}, one per output, found {found}")


def _column_names(path: Path) -> list[str]:
    if path.name.lower().endswith(PARQUET):
        return list(pq.read_schema(path).names)
    with csv.open_csv(path) as reader:
        return list(reader.schema.names)


def _find(ids_L: NDArray[np.int64], wanted_R: NDArray[np.int64], path: Path) -> NDArray[np.intp]:
    order_L = np.argsort(ids_L)
    places_R = np.searchsorted(ids_L, wanted_R, sorter=order_L).clip(max=len(ids_L) - 1)
    positions_R: NDArray[np.intp] = order_L[places_R]
    missing = wanted_R[ids_L[positions_R] != wanted_R]
    if len(missing):
        raise DataError(
            f"{path}: no logits for {len(missing)} of {len(wanted_R)} rows, "
            f"the first with row ids {missing[:_SHOWN].tolist()}"
        )
    return positions_R
