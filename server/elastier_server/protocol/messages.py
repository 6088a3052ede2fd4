"""The bodies of Open Inference Protocol v2 requests, and of `/v1/predict`, as typed structs.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
and Triton's extensions for parameters and for scheduling
(https://github.com/triton-inference-server/server/tree/main/docs/protocol).
An unknown field is refused, so that a mistyped one is never ignored.
"""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any, Literal

import msgspec


class TensorParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of an input or of a requested output."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    content_type: str | None = None
    """Told by MLServer's client about its own codecs; says nothing that the signature does not."""


class InferParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of an inference request."""

    timeout: int | None = None
    """The latency budget in µs, as in Triton's schedule policy."""
    priority: int = 0
    tier: str | None = None
    min_tier: str | None = None
    max_tier: str | None = None
    unit: str | None = None
    binary_data_output: bool | None = None
    content_type: str | None = None


class InferInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input tensor; its data is decoded when its datatype is known."""

    name: str
    shape: list[int]
    datatype: str
    parameters: TensorParameters = TensorParameters()
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b""))


class RequestedOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An output that the client wants."""

    name: str
    parameters: TensorParameters = TensorParameters()


class InferBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of an inference request."""

    inputs: list[InferInput]
    id: str | None = None
    parameters: InferParameters = InferParameters()
    outputs: list[RequestedOutput] = []


def flat_body(data_types: Mapping[str, Any]) -> type[InferBody]:
    """`InferBody` for one model: the data of its inputs, which have to be flat, is decoded along with the rest.

    Args:
        data_types: Input name → type of its data.
    """
    inputs = [
        _flat_input(name, data_type, alone=len(data_types) == 1) for name, data_type in data_types.items()
    ]
    fields = [("inputs", list[reduce(or_, inputs)])]  # type: ignore[misc]
    body: type[InferBody] = msgspec.defstruct(  # type: ignore[assignment]  # its base says so
        "FlatBody", fields, bases=(InferBody,), frozen=True, forbid_unknown_fields=True
    )
    return body


def _flat_input(name: str, data_type: Any, *, alone: bool) -> type[msgspec.Struct]:
    # The name tells inputs apart, as their tag; but msgspec lets a lone struct come without its tag.
    named: dict[str, Any] = {} if alone else {"namespace": {"name": name}, "tag_field": "name", "tag": name}
    fields: list[tuple[str, Any]] = [("name", Literal[name])] if alone else []
    fields += [("shape", list[int]), ("datatype", str), ("data", data_type)]
    return msgspec.defstruct(
        "FlatInput",
        [*fields, ("parameters", TensorParameters, TensorParameters())],
        frozen=True,
        forbid_unknown_fields=True,
        **named,
    )


class PredictBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `/v1/predict`; its rows are decoded when the model, and so the columns, are known."""

    rows: msgspec.Raw
    model: str | None = None
    version: str | None = None
    budget_ms: float | None = None
    tier: str | None = None
    min_tier: str | None = None
    max_tier: str | None = None
    unit: str | None = None
    priority: int = 0
