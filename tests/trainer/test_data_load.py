"""A data file and its schema become tensors, or an error that says where they disagree."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from elastier_contract.features import CATEGORICAL, NUMERIC
from elastier_trainer.data.encode import FeatureFitter, PartEncoder
from elastier_trainer.data.load import load_dataset
from elastier_trainer.data.schema import CategorySchema
from elastier_trainer.data.stream import Part
from elastier_trainer.errors import DataError
from support.rows import SCHEMA, some_rows, write_rows


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_every_row_is_encoded_as_a_request_with_its_values_would_be(tmp_path: Path, name: str) -> None:
    columns = some_rows()
    dataset = load_dataset(*write_rows(tmp_path, columns, name=name))
    expected = dataset.features.encode({column: list(columns[column]) for column in dataset.features.columns})
    assert torch.equal(dataset.inputs[CATEGORICAL], torch.from_numpy(expected[CATEGORICAL]))
    assert torch.equal(dataset.inputs[NUMERIC], torch.from_numpy(expected[NUMERIC]))
    assert dataset.inputs[CATEGORICAL].dtype == torch.int64
    assert dataset.inputs[NUMERIC].dtype == torch.float32
    assert dataset.labels_R.tolist() == columns["late"].tolist()
    assert dataset.row_ids_R.tolist() == columns["id"].tolist()


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
OPTIONS = st.one_of(
    st.fixed_dictionaries({}, optional={"min_count": st.integers(1, 3), "max_values": st.integers(1, 5)}),
    st.fixed_dictionaries({"hash_buckets": st.integers(2, 50)}),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(), st.integers(-(2**63), 2**63 - 1), FLOATS), min_size=2),
    st.data(),
)
def test_columns_and_single_values_are_encoded_alike(rows: list[tuple[str, int, float]], data: Any) -> None:
    texts, integers, floats = (list(values) for values in zip(*rows, strict=True))
    known = data.draw(st.integers(1, len(rows)))
    categories = {
        "t": pa.array(texts, pa.large_string()),
        "i": pa.array(map(str, integers), pa.large_string()),
    }
    numbers = {"f": np.array(floats), "n": np.array(integers, dtype=np.float64)}
    part = Part(table=pa.table({**categories, **numbers}), first_row=0)
    schemas = [CategorySchema(name="t", **data.draw(OPTIONS)), CategorySchema(name="i", **data.draw(OPTIONS))]
    fitter = FeatureFitter(schemas, ("f", "n"))
    fitter.add(part, np.arange(len(rows)) < known)
    features = fitter.features()
    found = PartEncoder(features).encode(part)
    expected = features.encode({"t": texts, "i": integers, "f": floats, "n": integers})
    assert found[CATEGORICAL].tolist() == expected[CATEGORICAL].tolist()
    assert found[NUMERIC].tolist() == expected[NUMERIC].tolist()


def test_vocabulary_and_scale_are_those_of_the_training_rows(tmp_path: Path) -> None:
    columns = some_rows()
    train = load_dataset(*write_rows(tmp_path, columns)).splits["train"].numpy()
    outside = np.setdiff1d(np.arange(len(columns["id"])), train)
    carriers = np.array(columns["carrier"], dtype=object)
    carriers[outside] = "ZZ"
    columns["carrier"] = carriers.tolist()
    columns["wind"][outside] = 1e6
    dataset = load_dataset(*write_rows(tmp_path, columns))
    assert "ZZ" not in dataset.features.categorical[0].values
    assert dataset.inputs[CATEGORICAL][outside, 0].tolist() == [0] * len(outside)
    assert dataset.inputs[CATEGORICAL][train].min() > 0
    wind = dataset.features.numeric[1]
    assert (wind.mean, wind.std) == pytest.approx(
        (columns["wind"][train].mean(), columns["wind"][train].std())
    )


def test_a_constant_column_is_not_divided_by_zero(tmp_path: Path) -> None:
    columns = some_rows() | {"wind": [0.1] * 200, "distance": [1e-44, 2e-44] * 100}
    dataset = load_dataset(*write_rows(tmp_path, columns))
    assert [column.std for column in dataset.features.numeric] == [1.0, 1.0]


def test_only_a_teacher_gets_the_teacher_only_columns(tmp_path: Path) -> None:
    files = write_rows(
        tmp_path,
        some_rows(),
        schema=SCHEMA + "teacher_only: {categorical: [gate], numeric: [traffic]}\n",
    )
    student, teacher = load_dataset(*files), load_dataset(*files, with_teacher_columns=True)
    assert student.features.columns == ("carrier", "hour", "distance", "wind")
    assert teacher.features.columns == ("carrier", "hour", "gate", "distance", "wind", "traffic")
    assert torch.equal(student.inputs[CATEGORICAL], teacher.inputs[CATEGORICAL][:, :2])
    assert student.sha256 == teacher.sha256


def test_without_a_row_id_the_row_number_is_the_id(tmp_path: Path) -> None:
    files = write_rows(tmp_path, some_rows(), schema=SCHEMA.replace("row_id: id\n", ""))
    assert load_dataset(*files).row_ids_R.tolist() == list(range(200))


def test_the_digest_tells_other_data_and_another_schema(tmp_path: Path) -> None:
    digests = {load_dataset(*write_rows(tmp_path, some_rows())).sha256}
    digests.add(load_dataset(*write_rows(tmp_path, some_rows(seed=1))).sha256)
    digests.add(load_dataset(*write_rows(tmp_path, some_rows(), schema=SCHEMA + "split: {seed: 1}")).sha256)
    again = load_dataset(*write_rows(tmp_path, some_rows())).sha256
    assert len(digests) == 3
    assert again in digests


def changed(name: str, row: int, value: Any) -> dict[str, Any]:
    """One value of one column replaced."""
    values = list(np.asarray(some_rows()[name], dtype=object))
    values[row] = value
    return {name: values}


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wind": None}, r"missing columns \['wind'\]; it has \['id', 'late', 'carrier', 'hour', 'distance'"),
        (changed("wind", 7, None), "column 'wind' row 7: expected a value, found none"),
        (changed("wind", 7, float("nan")), "column 'wind' row 7: expected a finite 32-bit number, got nan"),
        (changed("wind", 8, float("inf")), "column 'wind' row 8: expected a finite 32-bit number, got inf"),
        (changed("wind", 9, 1e39), r"column 'wind' row 9: expected a finite 32-bit number, got 1e\+39"),
        (
            {"distance": ["12"] * 150 + ["far"] * 50},
            "column 'distance' row 150: expected a number, got 'far'",
        ),
        (
            changed("late", 3, 2),
            r"label 'late': expected 0 and 1, found 0 \(\d+ rows\), 1 \(\d+ rows\), 2 \(1",
        ),
        (
            changed("late", 3, None),
            "column 'late' row 3: expected a value, found none; `unlabelled: keep` in",
        ),
        ({"late": [0] * 200}, "both classes in the train split, found 140 of class 0 and 0 of class 1"),
        (changed("id", 5, 10), "row id 'id' row 5: 10 came before; expected unique ids, found 1 duplicates"),
        (changed("id", 5, None), "column 'id' row 5: expected a value, found none"),
        ({"id": [f"{row}x" for row in range(200)]}, "row id 'id': expected 64-bit integers"),
    ],
)
def test_wrong_data_are_refused_by_column_and_row(
    tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    columns = {key: values for key, values in (some_rows() | change).items() if values is not None}
    with pytest.raises(DataError, match=message):
        load_dataset(*write_rows(tmp_path, columns, name=name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("carrier", 4, None), "column 'carrier' row 4: expected a value, found none"),
        ({"hour": [1.5] * 200}, "column 'hour': expected text or integers for a category, got double"),
        ({"wind": [True] * 200}, "column 'wind': expected numbers, got bool"),
        ({"late": [0.5, 1] * 100}, r"expected 0 and 1, found 0.5 \(100 rows\), 1 \(100 rows\)"),
        ({"id": [0.5] * 200}, "row id 'id': expected 64-bit integers"),
    ],
)
def test_a_column_of_the_wrong_type_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(*write_rows(tmp_path, some_rows() | change))


def test_true_and_false_are_labels(tmp_path: Path) -> None:
    columns = some_rows()
    dataset = load_dataset(*write_rows(tmp_path, columns | {"late": columns["late"].astype(bool)}))
    assert dataset.labels_R.tolist() == columns["late"].tolist()


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, some_rows())
    with pytest.raises(DataError, match=r"absent\.parquet: expected a data file, found nothing"):
        load_dataset(tmp_path / "absent.parquet", schema)
    with pytest.raises(DataError, match="found a folder"):
        load_dataset(tmp_path, schema)
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"rows\.parquet: cannot read it"):
        load_dataset(data, schema)
    data.rename(tmp_path / "rows.xlsx")
    with pytest.raises(DataError, match=r"one of \.parquet, \.pq, \.csv"):
        load_dataset(tmp_path / "rows.xlsx", schema)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot read it: Empty CSV file"),
        ("id,late,carrier,hour,distance,wind\n", "expected rows, found a header alone"),
        ("id,late,carrier,hour,distance,wind\n1,0,AA\n", "row 0: Expected 6 columns, got 3"),
        ("id,id,late,carrier,hour,distance,wind\n1,1,0,AA,5,1,1\n", r"found several of \['id'\]"),
        ("id,late,carrier,hour,distance,wind\n1,0,AA,5,1,1\n", "expected labelled rows in every split"),
    ],
)
def test_a_broken_csv_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(content)
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / "rows.csv", tmp_path / "schema.yaml")
