"""The schema file says what columns mean; each mistake in it is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from elastier_trainer.data.dataset import SPLITS
from elastier_trainer.data.schema import (
    CategorySchema,
    DataSchema,
    GroupSplit,
    LabelSchema,
    RandomSplit,
    TeacherOnly,
    TimeSplit,
    read_schema,
    schema_text,
)
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


def test_every_kind_of_entry_is_written_and_read_back(tmp_path: Path) -> None:
    schema = DataSchema(
        label=LabelSchema(name="price", kind="regression"),
        group="city",
        unlabelled="keep",
        categorical=("city", CategorySchema(name="user", hash_buckets=64)),
        teacher_only=TeacherOnly(categorical=(CategorySchema(name="gate", min_count=3, max_values=9),)),
        split=TimeSplit(column="sold"),
    )
    (tmp_path / "schema.yaml").write_text(schema_text(schema))
    assert read_schema(tmp_path / "schema.yaml") == schema
    assert schema.columns == ("price", "city", "user", "gate", "sold")
    assert schema.row_columns == ("price", "city", "sold")


def test_a_plain_schema_is_written_as_it_always_was() -> None:
    assert schema_text(DataSchema(label="y", categorical=("c",))) == (
        "label: y\ncategorical:\n- c\nnumeric: []\nteacher_only:\n  categorical: []\n  numeric: []\n"
        "split:\n  by: random\n  seed: 0\n  train: 0.7\n  validation: 0.1\n  test: 0.2\n"
    )


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
        ("label: y\nnumeric: [x]\nsplit: {by: time}", r"split\.time\.column: Field required"),
        ("label: y\nnumeric: [x]\nsplit: {by: time, column: y}", "label 'y' can neither split nor group"),
        ("label: y\nnumeric: [x]\ngroup: y", "label 'y' can neither split nor group"),
        ("label: y\nnumeric: [x]\nsplit: {by: group}", "a split by group needs the group's column"),
        ("label: y\nnumeric: [x]\nsplit: {by: column, column: x}", "'x' names the split, so it has no other"),
        ("label: {kind: binary}\nnumeric: [x]", r"label\.options\.name: Field required"),
        (
            "label: {name: y, kind: ordinal}\nnumeric: [x]",
            r"label\.options\.kind: Input should be 'binary', ",
        ),
        ("label: y\ncategorical: [{name: c, min_count: 0}]", r"min_count: Input should be greater than"),
        ("label: y\ncategorical: [{name: c, hash_buckets: 8, max_values: 3}]", "leaves no vocabulary"),
        ("label: y\ncategorical: [c, {name: c}]", r"\['c'\] are named twice"),
        ("label: y\nnumeric: [x]\nunlabelled: drop", "unlabelled: Input should be 'keep'"),
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


NOTHING = np.empty(0)


def labelled(rows: int) -> NDArray[np.bool_]:
    """That every row has a label."""
    return np.ones(rows, dtype=bool)


@given(st.integers(10, 2000), st.integers(0, 2**63))
def test_every_row_is_in_one_split(rows: int, seed: int) -> None:
    splits = split_rows(RandomSplit(seed=seed), labelled(rows), NOTHING)
    assert torch.cat(list(splits.values())).sort().values.tolist() == list(range(rows))
    assert abs(len(splits["test"]) - 0.2 * rows) <= 0.5
    again = split_rows(RandomSplit(seed=seed), labelled(rows), NOTHING)
    assert all(torch.equal(again[name], positions) for name, positions in splits.items())


def test_seeds_give_different_splits() -> None:
    first, second = (split_rows(RandomSplit(seed=seed), labelled(100), NOTHING)["test"] for seed in (0, 1))
    assert not torch.equal(first, second)


def test_the_split_of_a_seed_never_changes() -> None:
    splits = split_rows(RandomSplit(seed=7), labelled(20), NOTHING)
    assert splits["validation"].tolist() == [5, 19]
    assert splits["test"].tolist() == [2, 9, 11, 17]


def test_too_few_rows_for_a_split_are_refused() -> None:
    with pytest.raises(DataError, match=r"\['validation'\] of .*'validation': 0.* are empty"):
        split_rows(RandomSplit(), labelled(4), NOTHING)


@given(st.lists(st.integers(0, 30), min_size=40, max_size=200), st.floats(0.1, 0.6), st.floats(0.1, 0.3))
def test_in_a_split_by_time_all_that_trains_is_earlier(
    times: list[int], train: float, validation: float
) -> None:
    schema = TimeSplit(column="t", train=train, validation=validation, test=1 - train - validation)
    times_R = np.array(times, dtype=np.float64)
    try:
        splits = split_rows(schema, labelled(len(times)), times_R)
    except DataError:
        # Too few different times to divide.
        assert max(times.count(time) for time in times) / len(times) > min(validation, schema.test) / 2
        return
    first, second, third = (times_R[splits[name].numpy()] for name in ("train", "validation", "test"))
    assert first.max() < second.min() <= second.max() < third.min()
    assert len(first) + len(second) + len(third) == len(times)


def test_a_split_by_time_is_by_share_of_the_rows() -> None:
    order = np.random.default_rng(0).permutation(100).astype(np.float64)
    splits = split_rows(TimeSplit(column="t"), labelled(100), order)
    assert order[splits["train"].numpy()].max() == 69
    assert (order[splits["validation"].numpy()].min(), order[splits["test"].numpy()].min()) == (70, 80)


def test_a_split_by_group_keeps_groups_whole_and_the_shares_about() -> None:
    groups_R = np.random.default_rng(0).integers(0, 2**64, 3000, dtype=np.uint64).repeat(3)
    splits = split_rows(GroupSplit(), labelled(9000), groups_R)
    found = {name: set(groups_R[rows.numpy()].tolist()) for name, rows in splits.items()}
    assert not found["train"] & (found["validation"] | found["test"])
    assert not found["validation"] & found["test"]
    # Shares of 3,000 groups by chance: 4 deviations are 3.3 % and 2.2 % and 2.9 %.
    assert [len(splits[name]) / 9000 for name in SPLITS] == pytest.approx([0.7, 0.1, 0.2], abs=0.033)
    other = split_rows(GroupSplit(seed=1), labelled(9000), groups_R)
    assert not torch.equal(other["test"], splits["test"])


def test_by_chance_all_unlabelled_rows_train_and_the_labelled_ones_are_shared_out() -> None:
    present_R = np.arange(1000) % 4 == 0
    splits = split_rows(RandomSplit(), present_R, NOTHING)
    assert present_R[splits["validation"].numpy()].all()
    assert (len(splits["train"]), len(splits["validation"]), len(splits["test"])) == (925, 25, 50)


def test_by_time_unlabelled_rows_of_later_times_are_left_out() -> None:
    present_R = np.arange(1000) % 4 == 0
    splits = split_rows(TimeSplit(column="t"), present_R, np.arange(1000.0))
    assert len(splits["train"]) == 700
    assert (len(splits["validation"]), len(splits["test"])) == (25, 50)
