"""A teacher's logits in a file, by row id: what a student learns from when the teacher itself is not there.

A Parquet file with `row_id` int64 and `logit` float32; its metadata say which teacher and which data. It may
hold more rows than a data set has, and one that was made elsewhere may come without metadata.

Shapes: R rows of the data set, L rows of the file.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract import atomic
from elastier_trainer.data.table import numbers, read_table, row_ids
from elastier_trainer.errors import DataError

ROW_ID = "row_id"
LOGIT = "logit"
_TEACHER = b"elastier.teacher"
_DATA_SHA256 = b"elastier.data_sha256"
_SHOWN = 5


def write_logits(path: Path, row_ids_R: Tensor, logits_R: Tensor, *, teacher: str, data_sha256: str) -> None:
    """Write a logits file, atomically; equal logits give equal bytes.

    Args:
        path: The file, ending in .parquet.
        row_ids_R: int64, unique.
        logits_R: Finite numbers.
        teacher: Kind of the teacher.
        data_sha256: Digest of the data the teacher learned from.

    Raises:
        DataError: Lengths differ, or a logit is not finite.
    """
    if row_ids_R.shape != logits_R.shape or row_ids_R.ndim != 1:
        raise DataError(
            f"expected a logit per row id, got {tuple(row_ids_R.shape)} ids, {tuple(logits_R.shape)} logits"
        )
    if not bool(torch.isfinite(logits_R).all()):
        raise DataError(f"expected finite logits, got {int((~torch.isfinite(logits_R)).sum())} that are not")
    table = pa.table(
        {
            ROW_ID: pa.array(row_ids_R.numpy(), pa.int64()),
            LOGIT: pa.array(logits_R.numpy().astype(np.float32), pa.float32()),
        }
    ).replace_schema_metadata({_TEACHER: teacher, _DATA_SHA256: data_sha256})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    atomic.write_file(path, sink.getvalue().to_pybytes())


def read_logits(path: Path, row_ids_R: Tensor, *, data_sha256: str | None) -> Tensor:
    """Read the logits of these rows, float32 [R], in their order.

    Args:
        path: The file.
        row_ids_R: int64, the data set's.
        data_sha256: Digest of the data set, compared with the file's where it has one; None compares nothing.

    Raises:
        DataError: Not such a file, of other data, a logit that is not finite, or rows without a logit.
    """
    table = read_table(path, (ROW_ID, LOGIT))
    try:
        ids_L, logits_L = row_ids(table, ROW_ID), numbers(table, LOGIT)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    written = (table.schema.metadata or {}).get(_DATA_SHA256, b"").decode()
    if data_sha256 is not None and written and written != data_sha256:
        raise DataError(
            f"{path}: expected logits for data with digest {data_sha256[:12]}, "
            f"these are for {written[:12]}: train the teacher on this data and schema"
        )
    positions_R = _find(ids_L, row_ids_R.numpy(), path)
    return torch.from_numpy(logits_L[positions_R].astype(np.float32))


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
