"""The rows of a data set as a teacher reads them: with more columns, or encoded as it was trained.

Shapes: R rows of the data set.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract.features import FeatureSchema
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.encode import PartEncoder
from elastier_trainer.data.load import load_dataset
from elastier_trainer.data.schema import read_schema
from elastier_trainer.data.stream import Part, open_stream
from elastier_trainer.data.table import integers
from elastier_trainer.errors import DataError


@dataclass(frozen=True, kw_only=True)
class TeacherRows:
    """A data set, and the files to read more of its rows from."""

    dataset: Dataset
    data: Path
    schema: Path

    def with_columns(self, *, teacher_columns: bool) -> Dataset:
        """The rows encoded as this data's training rows say.

        Raises:
            DataError: The files hold other rows than the data set.
        """
        return self._whole if teacher_columns else self.dataset

    def encoded(self, features: FeatureSchema) -> Iterator[dict[str, Tensor]]:
        """The rows, part by part in their order, encoded by another schema, whose columns are found by name.

        Raises:
            DataError: A column is missing or of another kind, or the files hold other rows than the data set.
        """
        row_id = read_schema(self.schema).row_id
        columns = tuple(dict.fromkeys((*(() if row_id is None else (row_id,)), *features.columns)))
        encoder = PartEncoder(features)
        found: list[NDArray[np.int64]] = []
        for part in open_stream(self.data, columns).parts(columns):
            found.append(_row_ids(part, row_id))
            yield {name: torch.from_numpy(values) for name, values in encoder.encode(part).items()}
        self._check_same(np.concatenate(found))

    @cached_property
    def _whole(self) -> Dataset:
        whole = load_dataset(self.data, self.schema, with_teacher_columns=True)
        self._check_same(whole.row_ids_R.numpy())
        return whole

    def _check_same(self, row_ids_R: NDArray[np.int64]) -> None:
        if not np.array_equal(row_ids_R, self.dataset.row_ids_R.numpy()):
            raise DataError(
                f"{self.data}: expected the {len(self.dataset.row_ids_R)} rows of the data set, "
                f"found {len(row_ids_R)} or other ones: it changed since it was read"
            )


def _row_ids(part: Part, name: str | None) -> NDArray[np.int64]:
    if name is None:
        return np.arange(part.rows.start, part.rows.stop)
    return integers(part.table, name, first_row=part.first_row)
