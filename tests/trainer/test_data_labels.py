"""Labels of every kind, vocabularies of every kind, and rows without a label."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import DataError
from elastier_trainer.task import MulticlassTask, RegressionTask
from support.rows import SCHEMA, some_rows, write_rows

MULTICLASS = SCHEMA.replace("label: late", "label: {name: kind, kind: multiclass}")
REGRESSION = SCHEMA.replace("label: late", "label: {name: price, kind: regression}")
NAMES = ["rows.parquet", "rows.csv"]


def load(folder: Path, changes: dict[str, Any], schema: str, name: str = "rows.parquet") -> Dataset:
    """The data set of some rows with these columns changed."""
    return load_dataset(*write_rows(folder, some_rows() | changes, schema=schema, name=name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["fir", "ash", "oak", "Elm"], ("Elm", "ash", "fir", "oak")),
        ([10, 9, -2, 100], ("-2", "9", "10", "100")),
        (["10", "9", "b", "01"], ("01", "10", "9", "b")),
    ],
    ids=["text", "integers by number", "mixed as text"],
)
def test_classes_are_sorted_and_labels_are_their_indices(
    tmp_path: Path, name: str, values: list[Any], classes: tuple[str, ...]
) -> None:
    column = [values[row % 4] for row in range(200)]
    dataset = load(tmp_path, {"kind": column}, MULTICLASS, name)
    assert dataset.classes == classes
    assert dataset.labels_R.dtype == torch.int64
    assert [classes[label] for label in dataset.labels_R.tolist()] == [str(value) for value in column]
    assert isinstance(dataset.task, MulticlassTask)
    assert dataset.task.outputs == 4


def test_the_chance_of_a_multiclass_task_is_that_of_its_most_frequent_training_class(tmp_path: Path) -> None:
    dataset = load(tmp_path, {"kind": ["a", "a", "a", "b"] * 50}, MULTICLASS)
    train = dataset.labels_R[dataset.splits["train"]]
    assert dataset.task.chance == pytest.approx((train == 0).double().mean().item())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": ["a"] * 200}, "at least two classes in the train split, found 'a' alone"),
        ({"kind": [0.5, 1.5] * 100}, "column 'kind': expected text or integers for a category, got double"),
        (
            {"kind": [None] + ["a", "b"] * 99 + ["a"]},
            "column 'kind' row 0: expected a value, found none; `unl",
        ),
    ],
)
def test_what_cannot_be_classes_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, change, MULTICLASS)


def test_a_class_that_no_training_row_has_is_refused(tmp_path: Path) -> None:
    kinds = np.array(["a", "b"] * 100, dtype=object)
    test_row = int(load(tmp_path, {"kind": kinds.tolist()}, MULTICLASS).splits["test"][3])
    kinds[test_row] = "new"
    message = f"label 'kind' row {test_row}: the class 'new' is in no row of the train split"
    with pytest.raises(DataError, match=message):
        load(tmp_path, {"kind": kinds.tolist()}, MULTICLASS)


def test_more_classes_than_any_one_names_are_refused(tmp_path: Path) -> None:
    columns = some_rows(10_001) | {"kind": np.arange(10_001)}
    with pytest.raises(DataError, match=r"at most 10000 classes, found more by row 10000; .* regression"):
        load_dataset(*write_rows(tmp_path, columns, schema=MULTICLASS))


@pytest.mark.parametrize("name", NAMES)
def test_a_regression_learns_the_scale_of_its_training_labels(tmp_path: Path, name: str) -> None:
    prices = np.random.default_rng(0).normal(1e5, 3e4, 200)
    dataset = load(tmp_path, {"price": prices}, REGRESSION, name)
    train = prices[dataset.splits["train"].numpy()]
    assert dataset.task == RegressionTask(label_mean=train.mean(), label_std=train.std())
    assert dataset.labels_R.tolist() == prices.astype(np.float32).tolist()
    assert dataset.classes == ()


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ([3.5] * 200, "expected different values in the train split, found 3.5 in all 140 rows"),
        ([1.0] * 199 + [float("nan")], "column 'price' row 199: expected a finite 32-bit number, got nan"),
        (["1"] * 199 + ["much"], "column 'price' row 199: expected a number, got 'much'"),
    ],
)
def test_what_cannot_be_predicted_as_a_number_is_refused(
    tmp_path: Path, prices: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, {"price": prices}, REGRESSION)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("schema", "column", "values"),
    [
        (SCHEMA, "late", [0, 1]),
        (MULTICLASS, "kind", ["a", "b"]),
        (REGRESSION, "price", [1.5, 2.5]),
    ],
    ids=["binary", "multiclass", "regression"],
)
def test_rows_without_a_label_train_and_are_told_apart(
    tmp_path: Path, name: str, schema: str, column: str, values: list[Any]
) -> None:
    labels = [None if row % 5 == 4 else values[row % 2] for row in range(200)]
    with pytest.raises(DataError, match=rf"column '{column}' row 4: .*`unlabelled: keep`"):
        load(tmp_path, {column: labels}, schema, name)
    dataset = load(tmp_path, {column: labels}, schema + "unlabelled: keep\n", name)
    everywhere = dataset.labelled(torch.arange(200)).tolist()
    assert everywhere == [row for row in range(200) if row % 5 != 4]
    train = dataset.splits["train"]
    assert len(train) - len(dataset.labelled(train)) == 40
    for split in ("validation", "test"):
        rows = dataset.splits[split]
        assert torch.equal(dataset.labelled(rows), rows)


def test_labels_are_needed_to_train(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected labelled rows in every split"):
        load(tmp_path, {"late": [None] * 200}, SCHEMA + "unlabelled: keep\n")


def test_other_labels_than_0_and_1_are_pointed_to_the_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the first other one in row 2; .*\{name: late, kind: multiclass\}"):
        load(tmp_path, {"late": [0, 1, 2, 3] * 50}, SCHEMA)


def test_rare_values_share_an_id_and_frequent_ones_keep_theirs(tmp_path: Path) -> None:
    carriers = ["AA"] * 120 + ["B6"] * 60 + [f"x{row}" for row in range(20)]
    schema = SCHEMA.replace("[carrier, hour]", "[{name: carrier, min_count: 5}, hour]")
    dataset = load(tmp_path, {"carrier": carriers}, schema)
    column = dataset.features.categorical[0]
    assert (column.values, column.rare, column.size) == (("AA", "B6"), True, 4)
    assert dataset.inputs["categorical"][:, 0].tolist() == [1] * 120 + [2] * 60 + [3] * 20
    request = {name: list(some_rows()[name][:1]) for name in dataset.features.columns} | {"carrier": ["new"]}
    assert dataset.features.encode(request)["categorical"][0, 0] == 3


def test_without_rare_values_there_is_no_id_for_them(tmp_path: Path) -> None:
    schema = SCHEMA.replace("[carrier, hour]", "[{name: carrier, min_count: 2}, hour]")
    column = load(tmp_path, {}, schema).features.categorical[0]
    assert (column.rare, column.size) == (False, 5)


def test_of_too_many_values_the_most_frequent_are_kept(tmp_path: Path) -> None:
    carriers = ["AA"] * 100 + ["B6", "UA"] * 40 + ["ZZ"] * 20
    schema = SCHEMA.replace("[carrier, hour]", "[{name: carrier, max_values: 2}, hour]")
    column = load(tmp_path, {"carrier": carriers}, schema).features.categorical[0]
    assert column.rare
    assert len(column.values) == 2
    assert "AA" in column.values
    assert "ZZ" not in column.values


@pytest.mark.parametrize("name", NAMES)
def test_a_hashed_column_is_encoded_as_a_request_would_be(tmp_path: Path, name: str) -> None:
    carriers = [f"user {row * 7 % 100}" for row in range(200)]
    schema = SCHEMA.replace(
        "[carrier, hour]", "[{name: carrier, hash_buckets: 30}, {name: hour, hash_buckets: 9}]"
    )
    dataset = load(tmp_path, {"carrier": carriers}, schema, name)
    columns = some_rows() | {"carrier": carriers}
    expected = dataset.features.encode({column: list(columns[column]) for column in dataset.features.columns})
    assert dataset.inputs["categorical"].tolist() == expected["categorical"].tolist()
    assert dataset.features.categorical[0].size == 31


def test_a_column_of_text_is_refused_with_advice(tmp_path: Path) -> None:
    reviews = [f"I bought {row} of them and liked each" for row in range(200)]
    with pytest.raises(
        DataError, match=r"column 'carrier': .* that is text or a key\. Leave it out, or hash it"
    ):
        load(tmp_path, {"carrier": reviews}, SCHEMA)
    hashed = SCHEMA.replace("[carrier, hour]", "[{name: carrier, hash_buckets: 4096}, hour]")
    assert load(tmp_path, {"carrier": reviews}, hashed).features.categorical[0].size == 4097


def test_long_names_that_come_again_and_short_keys_are_categories(tmp_path: Path) -> None:
    airlines = [f"The Airline of Many Words, number {row % 20}" for row in range(200)]
    assert len(load(tmp_path, {"carrier": airlines}, SCHEMA).features.categorical[0].values) == 20
    assert len(load(tmp_path, {"carrier": list(range(200))}, SCHEMA).features.categorical[0].values) == 140


FIRST = datetime(2024, 2, 28, 23, 30, tzinfo=UTC)
MOMENTS = [FIRST + timedelta(hours=5 * row) for row in range(200)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "times",
    [
        list(range(0, 2000, 10)),
        [row / 7 for row in range(200)],
        [date(2023, 12, 30) + timedelta(days=row) for row in range(200)],
        [moment.replace(tzinfo=None) for moment in MOMENTS],
        MOMENTS,
        [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in MOMENTS],
        [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in MOMENTS],
        [str(row * 5) for row in range(200)],
    ],
    ids=["integers", "floats", "dates", "times", "zoned", "zoned text", "text", "text of numbers"],
)
def test_time_may_be_written_in_many_ways(tmp_path: Path, name: str, times: list[Any]) -> None:
    order = np.random.default_rng(0).permutation(200)
    columns = {"when": [times[place] for place in order]}
    dataset = load(tmp_path, columns, SCHEMA + "split: {by: time, column: when}\n", name)
    places = {split: order[rows.numpy()] for split, rows in dataset.splits.items()}
    assert (places["train"].max(), places["validation"].max(), places["test"].min()) == (139, 159, 160)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["2024-01-01"] * 199 + ["soon"], "row 199: expected a date or an ISO 8601 time without a time zone"),
        (["2024-01-01"] * 199 + ["2024-01-02T00:00:00Z"], "row 199: expected a date .* without a time zone"),
        (["soon"] * 200, "row 0: expected a number, a date or an ISO 8601 time, got 'soon'"),
        (["2024-01-01"] * 150 + [None] * 50, "row 150: expected a value, found none"),
        ([5.0] * 199 + [float("nan")], "row 199: expected a finite"),
        ([5] * 200, r"\['validation', 'test'\] of .* are empty"),
    ],
)
def test_what_is_no_time_is_refused(tmp_path: Path, times: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, {"when": times}, SCHEMA + "split: {by: time, column: when}\n")


def test_a_column_may_name_the_split(tmp_path: Path) -> None:
    part = ["train", "train", "validation", "test"] * 50
    schema = SCHEMA + "split: {by: column, column: part}\n"
    dataset = load(tmp_path, {"part": part}, schema)
    assert dataset.splits["validation"].tolist() == list(range(2, 200, 4))
    part[77] = "holdout"
    message = "column 'part' row 77: expected one of train, validation, test, got 'holdout'"
    with pytest.raises(DataError, match=message):
        load(tmp_path, {"part": part}, schema)
