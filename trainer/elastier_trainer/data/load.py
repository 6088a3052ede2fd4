"""From a data file and its schema file to tensors.

Shapes: R rows, C categorical columns, N numeric columns.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract.features import (
    CATEGORICAL,
    NUMERIC,
    UNKNOWN,
    CategoricalColumn,
    FeatureSchema,
    NumericColumn,
)
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.schema import read_schema
from elastier_trainer.data.split import check_classes, split_rows
from elastier_trainer.data.table import categories, labels, numbers, read_table, row_ids
from elastier_trainer.errors import DataError


def load_dataset(data: Path, schema: Path, *, with_teacher_columns: bool = False) -> Dataset:
    """Read, check, split and encode a data file; vocabulary and scale are those of its training rows.

    Args:
        data: Parquet or CSV file.
        schema: Schema file, see `elastier_trainer.data.schema`.
        with_teacher_columns: Append the schema's teacher-only columns to the others.

    Raises:
        DataError: A file that cannot be read, or rows that do not fit the schema; says column and first row.
    """
    described = read_schema(schema)
    table = read_table(data, described.columns)
    labels_R = labels(table, described.label)
    row_ids_R = row_ids(table, described.row_id)
    splits = split_rows(table.num_rows, described.split)
    check_classes(labels_R, splits)
    secret = described.teacher_only
    categorical = described.categorical + (secret.categorical if with_teacher_columns else ())
    numeric = described.numeric + (secret.numeric if with_teacher_columns else ())
    texts = {name: categories(table, name) for name in categorical}
    values = {name: numbers(table, name) for name in numeric}
    train = splits["train"].numpy()
    features = fit_features(
        {name: column.take(pa.array(train)) for name, column in texts.items()},
        {name: values_R[train] for name, values_R in values.items()},
    )
    return Dataset(
        features=features,
        inputs=encode_columns(features, texts, values),
        labels_R=torch.from_numpy(labels_R),
        row_ids_R=torch.from_numpy(row_ids_R.copy()),
        splits=splits,
        sha256=digest_files(data, schema),
    )


def fit_features(texts: dict[str, pa.Array], values: dict[str, NDArray[np.float64]]) -> FeatureSchema:
    """Vocabulary and scale of these rows, columns in their order; a constant column gets deviation 1."""
    return FeatureSchema(
        categorical=tuple(
            CategoricalColumn(name=name, values=tuple(sorted(column.unique().to_pylist())))
            for name, column in texts.items()
        ),
        numeric=tuple(
            NumericColumn(name=name, mean=float(values_R.mean()), std=_deviation(values_R))
            for name, values_R in values.items()
        ),
    )


def encode_columns(
    features: FeatureSchema, texts: dict[str, pa.Array], values: dict[str, NDArray[np.float64]]
) -> dict[str, Tensor]:
    """What `FeatureSchema.encode` gives for these columns, but column by column: a table has many rows.

    Returns:
        `categorical` int64 [R, C] and `numeric` float32 [R, N], each only if there are such columns.
    """
    inputs: dict[str, Tensor] = {}
    if features.categorical:
        columns = [_encode(column, texts[column.name]) for column in features.categorical]
        inputs[CATEGORICAL] = torch.from_numpy(np.stack(columns, axis=1))
    if features.numeric:
        stacked_RN = np.stack([values[column.name].astype(np.float32) for column in features.numeric], axis=1)
        inputs[NUMERIC] = torch.from_numpy(stacked_RN)
    return inputs


def digest_files(*paths: Path) -> str:
    """SHA-256 over the SHA-256 of each file, so that bytes cannot move from one file to the next.

    Raises:
        DataError: A file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"{path}: cannot read it: {error.strerror}") from error
    return digest.hexdigest()


def _encode(column: CategoricalColumn, texts: pa.Array) -> NDArray[np.int64]:
    found = pc.index_in(texts, value_set=pa.array(column.values, pa.large_string()))
    ids_R: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return ids_R + UNKNOWN + 1


def _deviation(values_R: NDArray[np.float64]) -> float:
    # The model divides by a 32-bit number: what rounds to 0 there is as good as constant.
    deviation = float(values_R.std())
    constant = values_R.min() == values_R.max() or deviation < np.finfo(np.float32).tiny
    return 1.0 if constant else deviation
