"""Properties of inference: no body whatever is a fault of ours, and the next good request is answered."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.serving import INFER, AppClient, InferBody, assert_answered

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=8,
)
_names = st.sampled_from(["categorical", "numeric", "logits", ""])
_tensor = st.fixed_dictionaries(
    {
        "name": _names | _json,
        "datatype": st.sampled_from(["INT64", "FP32", "BYTES"]) | _json,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | st.just([2, 2]) | st.just([2, 3]) | _json,
    },
    optional={
        "data": st.lists(st.integers(-5, 30) | st.floats(), max_size=8)
        | st.lists(st.lists(st.integers()))
        | _json,
        "parameters": _json,
    },
)
_infer_body = st.fixed_dictionaries(
    {"inputs": st.lists(_tensor, max_size=3) | _json},
    optional={
        "id": _json,
        "outputs": st.lists(st.fixed_dictionaries({"name": _names | _json})) | _json,
        "parameters": st.fixed_dictionaries({}, optional={"timeout": _json, "tier": _json, "unit": _json})
        | _json,
    },
)


@st.composite
def _one_change(draw: st.DrawFn) -> Any:
    """A good body with something else at one place."""
    body = json.loads(json.dumps(InferBody.of(2, timeout=5000, unit="u")))
    node = body
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        key = draw(st.sampled_from(list(keys)))
        if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
            node = node[key]
        else:
            node[key] = draw(_json)
            return body


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=_infer_body | _one_change() | _json)
def test_no_body_is_a_fault_of_ours_and_the_next_one_is_answered(client: AppClient, body: Any) -> None:
    answer = client.post(INFER, json.dumps(body).encode(), timeout=10)
    assert answer.status_code in {200, 400}, answer.text
    assert answer.status_code == 200 or list(answer.json()) == ["error"]
    assert_answered(client)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=64), cut=st.integers(0, 400))
def test_no_bytes_are_a_fault_of_ours_and_the_next_ones_are_answered(
    client: AppClient, body: bytes, cut: int
) -> None:
    good = json.dumps(InferBody.of(2)).encode()
    answer = client.post(INFER, good[:cut] + body + good[cut + len(body) :], timeout=10)
    assert answer.status_code in {200, 400}, answer.text
    assert_answered(client)
