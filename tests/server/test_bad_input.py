"""Bad input: a refusal that says what was expected, never a fault, and the next good request works."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from elastier_contract.bundle import Bundle
from support.serving import INFER, AppClient, InferBody, Setup, assert_answered, client_of, fake_setup

Spoil = Callable[[InferBody], object]


def _categorical(**changes: Any) -> Spoil:
    return lambda body: body["inputs"][0].update(changes)


def _numeric(**changes: Any) -> Spoil:
    return lambda body: body["inputs"][1].update(changes)


def _parameters(**changes: Any) -> Spoil:
    return lambda body: body["parameters"].update(changes)


def _empty_batch(body: InferBody) -> None:
    for tensor, columns in zip(body["inputs"], (2, 3), strict=True):
        tensor.update(shape=[0, columns], data=[])


SPOILS: dict[str, tuple[Spoil, str]] = {
    "no inputs": (lambda body: body.pop("inputs"), "Object missing required field `inputs`"),
    "missing input": (
        lambda body: body["inputs"].pop(),
        "expected inputs ['categorical', 'numeric'], missing ['numeric']",
    ),
    "input twice": (
        lambda body: body["inputs"].append(body["inputs"][0]),
        "expected each input once, got 'categorical' twice",
    ),
    "unknown input": (_numeric(name="numbers"), "got unknown input 'numbers'"),
    "unknown field": (lambda body: body.update(input=[]), "Object contains unknown field `input`"),
    "wrong datatype": (_numeric(datatype="FP64"), "input 'numeric': expected datatype FP32, got 'FP64'"),
    "wrong rank": (_numeric(shape=[6]), "input 'numeric': expected shape [rows, 3], got [6]"),
    "wrong width": (_numeric(shape=[3, 2]), "input 'numeric': expected shape [rows, 3], got [3, 2]"),
    "empty shape": (_numeric(shape=[]), "input 'numeric': expected shape [rows, 3], got []"),
    "negative shape": (_numeric(shape=[-2, 3]), "input 'numeric': expected shape [rows, 3], got [-2, 3]"),
    "shape of text": (_numeric(shape=["2", 3]), "Expected `int`, got `str` - at `body.inputs[1].shape[0]`"),
    "unequal rows": (
        _numeric(shape=[1, 3], data=[1, 2, 3]),
        "expected every input to have as many rows, got {'categorical': 2, 'numeric': 1}",
    ),
    "empty batch": (_empty_batch, "expected 1 to 1024 rows, got 0"),
    "no data": (lambda body: body["inputs"][1].pop("data"), "input 'numeric': expected data, got none"),
    "too little data": (
        _numeric(data=[1.0] * 5),
        "input 'numeric': expected 6 values for shape [2, 3], got 5",
    ),
    "too much data": (_numeric(data=[1.0] * 7), "input 'numeric': expected 6 values for shape [2, 3], got 7"),
    "ragged data": (
        _numeric(data=[[1, 2], [3, 4, 5, 6]]),
        "input 'numeric': expected data nested as its shape [2, 3] says",
    ),
    "nested too deep": (
        _numeric(data=[[[1, 2, 3], [4, 5, 6]]]),
        "Expected `float`, got `array` - at `data[0][0]`",
    ),
    "data that is no list": (
        _numeric(shape=[1, 3], data="1,2,3"),
        "expected every input to have as many rows",
    ),
    "text": (
        _numeric(data=[1, 2, 3, 4, 5, "6"]),
        "input 'numeric': Expected `float`, got `str` - at `data[5]`",
    ),
    "null": (_numeric(data=[1, 2, 3, 4, 5, None]), "Expected `float`, got `null` - at `data[5]`"),
    "bool for a number": (
        _numeric(data=[1, 2, 3, 4, 5, True]),
        "Expected `float`, got `bool` - at `data[5]`",
    ),
    "bool for an id": (_categorical(data=[1, 2, 3, True]), "Expected `int`, got `bool` - at `data[3]`"),
    "fraction for an id": (_categorical(data=[1, 2, 3, 4.0]), "Expected `int`, got `float` - at `data[3]`"),
    "beyond float32": (
        _numeric(data=[1, 2, 3, 4, 5, 1e39]),
        "input 'numeric' data[5]: expected a finite FP32 number, got 1e+39",
    ),
    "negative id": (
        _categorical(data=[1, 2, -1, 2]),
        "input 'categorical' row 1 column 0: expected an id of 0 to 3, got -1",
    ),
    "id out of the vocabulary": (
        _categorical(data=[1, 20, 1, 2]),
        "input 'categorical' row 0 column 1: expected an id of 0 to 19, got 20",
    ),
    "id beyond int64": (
        _categorical(data=[1, 2, 3, 2**63]),
        "input 'categorical' data[3]: expected a 64-bit integer, got 9223372036854775808",
    ),
    "budget zero": (_parameters(timeout=0), "parameter timeout: expected a budget of more than 0"),
    "budget negative": (_parameters(timeout=-5), "at most 6e+07 µs, got -5"),
    "budget absurd": (_parameters(timeout=10**12), "at most 6e+07 µs, got 1000000000000"),
    "budget beyond any float": (_parameters(timeout=10**400), "at most 6e+07 µs, got 10000"),
    "budget of text": (
        _parameters(timeout="9"),
        "Expected `int | null`, got `str` - at `body.parameters.timeout`",
    ),
    "budget of bool": (_parameters(timeout=True), "Expected `int | null`, got `bool`"),
    "unknown tier": (
        _parameters(tier="w5"),
        "expected a tier of 'tiny', one of ['w4', 'w16', 'w64'], got 'w5'",
    ),
    "tier and bounds": (
        _parameters(tier="w4", max_tier="w16"),
        "expected either tier or min_tier and max_tier, got both",
    ),
    "bounds crossed": (
        _parameters(min_tier="w64", max_tier="w4"),
        "expected min_tier to be at most max_tier, got 'w64' and 'w4'",
    ),
    "unknown parameter": (
        _parameters(timeuot=5),
        "Object contains unknown field `timeuot` - at `body.parameters`",
    ),
    "empty unit": (_parameters(unit=""), "unit: expected 1 to 256 characters, got 0"),
    "endless unit": (_parameters(unit="x" * 257), "unit: expected 1 to 256 characters, got 257"),
    "unknown output": (
        lambda body: body.update(outputs=[{"name": "scores"}]),
        "expected outputs among ['logits'], got 'scores'",
    ),
    "output twice": (
        lambda body: body.update(outputs=[{"name": "logits"}] * 2),
        "expected each output once, got ['logits', 'logits']",
    ),
    "binary input": (
        lambda body: body["inputs"][1].update(parameters={"binary_data_size": 24}),
        "input 'numeric' parameter binary_data_size: the binary tensor extension is not supported",
    ),
    "binary output": (
        lambda body: body.update(outputs=[{"name": "logits", "parameters": {"binary_data": True}}]),
        "output 'logits' parameter binary_data: the binary tensor extension is not supported",
    ),
    "binary outputs": (
        _parameters(binary_data_output=True),
        "parameter binary_data_output: the binary tensor",
    ),
}


@pytest.mark.parametrize(("spoil", "error"), SPOILS.values(), ids=SPOILS)
def test_a_body_that_does_not_fit_is_refused(
    client: AppClient, setup: Setup, spoil: Spoil, error: str
) -> None:
    body = InferBody.of(2)
    spoil(body)
    _assert_refused(client, setup, json.dumps(body).encode(), error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "malformed JSON: Input data was truncated"),
        (b'{"inputs": [', "malformed JSON: Input data was truncated"),
        (b"not json", "malformed JSON"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"inputs": [], "id": "\xff"}', "malformed JSON: 'utf-8' codec can't decode"),
        (b'{"inputs": ' + b"[" * 100_000, "Expected `object`, got `array` - at `body.inputs[0]`"),
        (b'{"inputs": [], "outputs": [], "parameters": {"unit": "\\ud800"}}', "malformed JSON"),
        (json.dumps(InferBody.of(1)).replace("0.5", "NaN").encode(), "malformed JSON"),
        (json.dumps(InferBody.of(1)).replace("0.5", "Infinity").encode(), "malformed JSON"),
        (json.dumps(InferBody.of(1)).replace("0.5", "-Infinity").encode(), "malformed JSON"),
        (json.dumps(InferBody.of(1)).replace("0.5", "1e400").encode(), "Number out of range - at `data[2]`"),
        (
            json.dumps(InferBody.of(1)).replace("0.5", "[" * 50_000 + "]" * 50_000).encode(),
            "nested too deeply",
        ),
        (json.dumps(InferBody.of(1)).replace("[1, 2]", "[1, 1" + "0" * 400 + "]").encode(), "expected shape"),
    ],
)
def test_a_body_that_is_not_json_is_refused(client: AppClient, setup: Setup, body: bytes, error: str) -> None:
    _assert_refused(client, setup, body, error)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"X-Latency-Budget-Ms": "soon"}, "header X-Latency-Budget-Ms: expected a number, got 'soon'"),
        ({"X-Latency-Budget-Ms": "1_0"}, "header X-Latency-Budget-Ms: expected a number, got '1_0'"),
        ({"X-Latency-Budget-Ms": ""}, "header X-Latency-Budget-Ms: expected a number, got ''"),
        ({"X-Latency-Budget-Ms": "nan"}, "expected a budget of more than 0 and at most 60000 ms, got nan"),
        ({"X-Latency-Budget-Ms": "inf"}, "expected a budget of more than 0 and at most 60000 ms, got inf"),
        ({"X-Latency-Budget-Ms": "0"}, "expected a budget of more than 0 and at most 60000 ms, got 0"),
        ({"X-Latency-Budget-Ms": "-1"}, "expected a budget of more than 0 and at most 60000 ms, got -1"),
        (
            {"X-Latency-Budget-Ms": "60001"},
            "expected a budget of more than 0 and at most 60000 ms, got 60001",
        ),
        ({"Inference-Header-Content-Length": "9"}, "the binary tensor extension is not supported"),
        ({"Content-Encoding": "gzip"}, "expected a body without Content-Encoding, got 'gzip'"),
        ({"X-Elastier-Unit": "x" * 257}, "unit: expected 1 to 256 characters, got 257"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(
    client: AppClient, setup: Setup, headers: dict[str, str], error: str
) -> None:
    _assert_refused(client, setup, json.dumps(InferBody.of(1)).encode(), error, headers=headers)


def test_a_body_that_is_declared_too_long_is_not_read(tiny_bundle: Bundle) -> None:
    setup = fake_setup(tiny_bundle, max_body_bytes=1000)
    with client_of(setup.app) as client:
        refused = client.post(INFER, b" " * 1001)
        assert refused.status_code == 413
        assert refused.json() == {"error": "expected a body of at most 1000 bytes, got 1001"}
        assert refused.headers["connection"] == "close"
        assert_answered(client)
    assert setup.requests("invalid") == 1


def test_a_body_that_grows_too_long_is_cut_off(tiny_bundle: Bundle) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield b" " * 100

    setup = fake_setup(tiny_bundle, max_body_bytes=1000)
    with client_of(setup.app) as client:
        refused = client.post(INFER, endless())
        assert refused.status_code == 413
        assert refused.json() == {"error": "expected a body of at most 1000 bytes, got more"}
        assert sent < 100
        assert_answered(client)


def _assert_refused(
    client: AppClient, setup: Setup, body: bytes, error: str, headers: dict[str, str] | None = None
) -> None:
    answer = client.post(INFER, body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert error in answer.json()["error"]
    assert setup.requests("invalid") == 1
    assert setup.model.requests == []
    assert setup.lifecycle.running == 0
    assert_answered(client)
