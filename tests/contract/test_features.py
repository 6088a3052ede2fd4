"""The one encoder of training and serving."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from elastier_contract.errors import FeatureError
from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from support.tiny import TINY_FEATURES

ROW: dict[str, list[Any]] = {
    "carrier": ["UA"],
    "hour": [5],
    "distance": [1400],
    "wind_speed": [10.5],
    "temperature": [-3.0],
}


def test_known_values_get_their_ids_and_unknown_ones_zero() -> None:
    tensors = TINY_FEATURES.encode(
        {
            "carrier": ["AA", "ZZ", "UA"],
            "hour": [5, "23", 99],
            "distance": [1, 2.5, 3],
            "wind_speed": [0, 0, 0],
            "temperature": [0, 0, 0],
        }
    )
    assert tensors["categorical"].tolist() == [[1, 1], [0, 19], [3, 0]]
    assert tensors["numeric"][:, 0].tolist() == [1.0, 2.5, 3.0]
    assert [str(tensor.dtype) for tensor in tensors.values()] == ["int64", "float32"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"carrier": None}, r"missing columns \['carrier'\]"),
        ({"delay": [1]}, r"unexpected columns \['delay'\]"),
        ({"carrier": ["UA", "AA"]}, "every column needs 2 values"),
        ({"carrier": [1.5]}, "column 'carrier' row 0: expected a string or an integer, got 1.5"),
        ({"carrier": [True]}, "expected a string or an integer, got True"),
        ({"carrier": [[]]}, "expected a string or an integer"),
        ({"distance": ["far"]}, "column 'distance' row 0: expected a number, got 'far'"),
        ({"distance": [None]}, "expected a number, got None"),
        ({"distance": [True]}, "expected a number, got True"),
        ({"distance": [float("nan")]}, "expected a finite 32-bit number, got nan"),
        ({"distance": [float("-inf")]}, "expected a finite"),
        ({"distance": [1e39]}, "expected a finite"),
        ({"distance": [10**40]}, "expected a finite"),
    ],
)
def test_a_wrong_value_is_named_by_column_and_row(change: dict[str, Any], message: str) -> None:
    columns = {name: values for name, values in (ROW | change).items() if values is not None}
    with pytest.raises(FeatureError, match=message):
        TINY_FEATURES.encode(columns)


@given(
    st.lists(st.tuples(st.text(), st.integers(), st.floats(width=32, allow_nan=False, allow_infinity=False)))
)
def test_every_valid_row_encodes_within_the_limits(rows: list[tuple[str, int, float]]) -> None:
    carriers, hours, numbers = ([row[field] for row in rows] for field in range(3))
    tensors = TINY_FEATURES.encode(
        {
            "carrier": carriers,
            "hour": hours,
            "distance": numbers,
            "wind_speed": numbers,
            "temperature": numbers,
        }
    )
    spec = TINY_FEATURES.tensor_specs()[0]
    assert spec.limits is not None
    assert tensors["categorical"].shape == (len(rows), 2)
    assert np.all((tensors["categorical"] >= 0) & (tensors["categorical"] < np.array(spec.limits)))
    assert np.array_equal(tensors["numeric"][:, 0], np.array(numbers, dtype=np.float32))


def test_a_value_outside_of_the_vocabulary_is_rare_where_rare_values_were_trained() -> None:
    plain = CategoricalColumn(name="a", values=("x", "y"))
    shared = CategoricalColumn(name="a", values=("x", "y"), rare=True)
    assert (plain.size, plain.encode(["x", "y", "z"])) == (3, [1, 2, 0])
    assert (shared.size, shared.encode(["x", "y", "z"])) == (4, [1, 2, 3])


def test_a_hash_is_the_same_in_every_release() -> None:
    column = CategoricalColumn(name="a", hash_buckets=1000)
    # CRC-32 of "123456789" is 0xCBF43926 by its definition.
    assert column.encode(["123456789", "", "\ud800"]) == [1 + 0xCBF43926 % 1000, 1, 1 + 0x1DC4A528 % 1000]
    schema = FeatureSchema(categorical=(column,))
    assert schema.encode({"a": [123456789]})["categorical"].tolist() == [[1 + 0xCBF43926 % 1000]]
    assert schema.tensor_specs()[0].limits == (1001,)


@given(st.lists(st.text()), st.integers(2, 2**31 - 2))
def test_every_hash_is_an_id_of_its_own_table_and_never_unknown(texts: list[str], buckets: int) -> None:
    column = CategoricalColumn(name="a", hash_buckets=buckets)
    assert all(1 <= bucket < column.size for bucket in column.encode(texts))


def test_a_hash_spreads_numbered_values_evenly() -> None:
    found = CategoricalColumn(name="a", hash_buckets=64).encode(f"user_{number}" for number in range(64_000))
    counts = np.bincount(found, minlength=65)
    assert counts[0] == 0
    # 1,000 in each on average; by chance alone one bucket in 10,000 would be beyond 4 deviations (126).
    assert np.all(abs(counts[1:] - 1000) < 126)


def test_a_manifest_from_before_rare_and_hashed_columns_reads_as_it_did() -> None:
    document = '{"categorical": [{"name": "a", "values": ["x"]}], "numeric": []}'
    schema = FeatureSchema.model_validate_json(document)
    assert schema.encode({"a": ["x", "y"]})["categorical"].tolist() == [[1], [0]]


def test_a_schema_needs_columns_unique_names_and_unique_values() -> None:
    with pytest.raises(ValidationError, match="at least one column"):
        FeatureSchema()
    with pytest.raises(ValidationError, match="unique names"):
        FeatureSchema(
            categorical=(CategoricalColumn(name="a", values=()),),
            numeric=(NumericColumn(name="a", mean=0, std=1),),
        )
    with pytest.raises(ValidationError, match="duplicates"):
        CategoricalColumn(name="a", values=("x", "x"))
    with pytest.raises(ValidationError, match="'x' is hashed, so it can have no vocabulary"):
        CategoricalColumn(name="x", values=("a",), hash_buckets=8)
