"""The schema file says what columns mean; each mistake in it is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elastier_trainer.data.schema import DataSchema, RandomSplit, TeacherOnly, read_schema, schema_text
from elastier_trainer.data.split import split_rows
from elastier_trainer.errors import DataError


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    schema = DataSchema(
        label="late",
        categorical=("carrier", "no"),  # `no` unquoted would be false in YAML
        numeric=("distance",),
        teacher_only=TeacherOnly(numeric=("traffic",)),
        split=RandomSplit(seed=3, train=0.8, validation=0.1, test=0.1),
    )
    (tmp_path / "schema.yaml").write_text(schema_text(schema))
    assert read_schema(tmp_path / "schema.yaml") == schema


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label: [", "schema.yaml: not valid YAML"),
        ("label: y\0", "not valid YAML"),
        ("- label", "top level: "),
        ("", "top level: "),
        ("numeric: [x]", "label: Field required"),
        ("label: y", "at least one categorical or numeric column"),
        ("label: y\nnumeric: x", "numeric: "),
        ("label: y\nnumeric: [1]", r"numeric\.0: Input should be a valid string"),
        ("label: y\nnumerics: [x]", "numerics: Extra inputs are not permitted"),
        ("label: y\nnumeric: [x, y]", r"every column has one role, but \['y'\] are named twice"),
        ("label: y\nnumeric: [x]\nteacher_only: {numeric: [x]}", r"\['x'\] are named twice"),
        ("label: y\nnumeric: [x]\nsplit: {by: month}", "split: by: expected random, time, group or column"),
        ("label: y\nnumeric: [x]\nsplit: {train: 0.9}", "must be 1, got 1.2"),
        ("label: y\nnumeric: [x]\nsplit: {train: 1, validation: 0, test: 0}", r"split\.random\.validation: "),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "schema.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_schema(tmp_path / "schema.yaml")


def test_a_missing_schema_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent.yaml: expected a schema file"):
        read_schema(tmp_path / "absent.yaml")


@given(st.integers(10, 2000), st.integers(0, 2**63))
def test_every_row_is_in_one_split(rows: int, seed: int) -> None:
    splits = split_rows(RandomSplit(seed=seed), np.ones(rows, dtype=bool), np.empty(0))
    assert torch.cat(list(splits.values())).sort().values.tolist() == list(range(rows))
    assert abs(len(splits["test"]) - 0.2 * rows) <= 0.5
    again = split_rows(RandomSplit(seed=seed), np.ones(rows, dtype=bool), np.empty(0))
    assert all(torch.equal(again[name], positions) for name, positions in splits.items())


def test_seeds_give_different_splits() -> None:
    first, second = (
        split_rows(RandomSplit(seed=seed), np.ones(100, dtype=bool), np.empty(0))["test"] for seed in (0, 1)
    )
    assert not torch.equal(first, second)


def test_too_few_rows_for_a_split_are_refused() -> None:
    with pytest.raises(DataError, match=r"\['validation'\] of .*'validation': 0.* are empty"):
        split_rows(RandomSplit(), np.ones(4, dtype=bool), np.empty(0))
