"""Bodies read quickly and with care: the same tensors, and of what is wrong the same is said."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from elastier_contract.signature import Datatype, Signature, TensorSpec
from elastier_server.errors import InvalidRequestError
from elastier_server.protocol.decoding import decode
from elastier_server.protocol.infer import BodyReader
from elastier_server.protocol.messages import InferBody

LOGITS = TensorSpec(name="logits", datatype="FP32", shape=(-1, 1))
IDS = TensorSpec(name="ids", datatype="INT64", shape=(-1, 2), limits=(4, 20))
NUMBERS = TensorSpec(name="numbers", datatype="FP32", shape=(-1, 3))
SIGNATURE = Signature(inputs=(IDS, NUMBERS), outputs=(LOGITS,))
CAREFUL = msgspec.json.Decoder(InferBody)


def tensor(name: str, datatype: str, data: Any, columns: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [2, columns], "data": data}


def body(ids: Any = (1, 2, 3, 4), numbers: Any = (1, 2.5, -3, 1e-3, 0, 7)) -> dict[str, Any]:
    return {"inputs": [tensor("ids", "INT64", ids, 2), tensor("numbers", "FP32", numbers, 3)]}


def read(
    reader: BodyReader, content: bytes, way: Callable[[bytes], InferBody]
) -> dict[str, NDArray[Any]] | str:
    try:
        return {
            each.name: reader.inputs[each.name].read(each.data, each.shape)
            for each in way(content).inputs
            if each.name in reader.inputs
        }
    except InvalidRequestError as error:
        return str(error)


def assert_same(document: Any, signature: Signature = SIGNATURE) -> None:
    reader = BodyReader(signature, max_rows=2)
    content = json.dumps(document).encode()
    expected = read(reader, content, lambda content: decode(CAREFUL, content))
    found = read(reader, content, reader.read)
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert array.dtype == found[name].dtype
        assert np.array_equal(array, found[name])


def test_flat_data_is_decoded_along_with_the_body_and_nested_data_gives_the_same() -> None:
    reader = BodyReader(SIGNATURE, max_rows=2)
    flat = json.dumps(body()).encode()
    nested = json.dumps(body([[1, 2], [3, 4]], [[1, 2.5, -3], [1e-3, 0, 7]])).encode()
    assert all(isinstance(each.data, list) for each in reader.read(flat).inputs)
    assert all(isinstance(each.data, msgspec.Raw) for each in reader.read(nested).inputs)
    first, second = read(reader, flat, reader.read), read(reader, nested, reader.read)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["ids"].tolist() == second["ids"].tolist() == [[1, 2], [3, 4]]
    assert np.array_equal(first["numbers"], second["numbers"])
    assert first["numbers"].dtype == np.float32


def test_a_body_longer_than_any_good_one_is_not_decoded_for_its_data() -> None:
    reader = BodyReader(SIGNATURE, max_rows=2)
    content = json.dumps(body([1] * 5_000)).encode()
    assert isinstance(reader.read(content).inputs[0].data, msgspec.Raw)
    assert read(reader, content, reader.read) == "input 'ids': expected 4 values for shape [2, 2], got 5000"


WRONG_HEADS: list[dict[str, Any]] = [
    {"name": "ids", "shape": [2, 2], "datatype": "INT64"},
    {"shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
    {"name": "", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
    {"name": "others", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
    {"name": 7, "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},
    {"name": "ids", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4], "more": 1},
]


@pytest.mark.parametrize("head", WRONG_HEADS)
@pytest.mark.parametrize("inputs", [(IDS,), (IDS, NUMBERS)])
def test_a_wrong_head_is_as_wrong_whether_a_model_has_one_input_or_two(
    head: dict[str, Any], inputs: tuple[TensorSpec, ...]
) -> None:
    assert_same({"inputs": [head]}, Signature(inputs=inputs, outputs=(LOGITS,)))


VALUES = st.one_of(
    st.integers(-1, 20),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(max_size=2),
    st.lists(st.integers(0, 3), max_size=3),
)
DATA = st.one_of(
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.lists(VALUES, min_size=3, max_size=6),
    st.lists(st.lists(VALUES, min_size=2, max_size=3), min_size=2, max_size=2),
    st.none(),
)


@given(DATA, DATA)
@settings(deadline=None)
def test_whatever_the_data_the_quick_way_changes_nothing(ids: Any, numbers: Any) -> None:
    assert_same(body(ids, numbers))


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("BOOL", [True, False], [True, False]),
        ("INT8", [-128, 127], [-128, 127]),
        ("INT16", [-32768, 32767], [-32768, 32767]),
        ("INT32", [-(2**31), 2**31 - 1], [-(2**31), 2**31 - 1]),
        ("UINT8", [0, 255], [0, 255]),
        ("FP16", [0.5, 65504], [0.5, 65504.0]),
        ("FP64", [0.1, 1e308], [0.1, 1e308]),
        ("INT8", [1, 128], "data[1]: expected -128 to 127, got 128"),
        ("UINT8", [-1, 0], "data[0]: expected 0 to 255, got -1"),
        ("INT32", [0, 2**31], "data[1]: expected -2147483648 to 2147483647, got 2147483648"),
        ("INT16", [2**63, 2**15], "data[0]: expected a 64-bit integer, got 9223372036854775808"),
        ("FP16", [1, 1e5], "data[1]: expected a finite FP16 number, got 100000.0"),
        ("FP32", [-1e39, 1e39], "data[0]: expected a finite FP32 number, got -1e+39"),
    ],
)
def test_every_datatype_takes_its_range_and_names_the_first_value_beyond(
    datatype: Datatype, data: list[Any], expected: list[Any] | str
) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, 1))
    reader = BodyReader(Signature(inputs=(spec,), outputs=(LOGITS,)), max_rows=2)
    content = json.dumps({"inputs": [tensor("x", datatype, data, 1)]}).encode()
    found = read(reader, content, reader.read)
    if isinstance(expected, str):
        assert found == f"input 'x' {expected}"
        return
    assert isinstance(found, dict)
    assert found["x"].ravel().tolist() == expected
    assert found["x"].dtype == spec.dtype
