"""Open Inference Protocol v2: inference in JSON, both ways."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from math import prod
from weakref import WeakKeyDictionary

import msgspec

from elastier_contract.signature import Signature
from elastier_server.errors import InvalidRequestError, NotFoundError
from elastier_server.inference import InferResult
from elastier_server.protocol.asking import (
    BUDGET_HEADER,
    UNIT_HEADER,
    Ask,
    Wishes,
    check_rows,
    checked_unit,
    header_budget_ms,
)
from elastier_server.protocol.decoding import decode
from elastier_server.protocol.exchange import Exchange
from elastier_server.protocol.messages import (
    InferBody,
    InferInput,
    InferParameters,
    TensorParameters,
    flat_body,
)
from elastier_server.protocol.tensors import TensorReader
from elastier_server.settings import Settings
from elastier_server.state import Models, Served

_BODY = msgspec.json.Decoder(InferBody)
_LONGEST_NUMBER = 32
"""Characters of a number in JSON, as any client writes it, with what parts it from the next."""
_LONGEST_HEAD = 4096
_NO_BINARY = "the binary tensor extension is not supported: send and ask for tensors as JSON"


class BodyReader:
    """Reads the bodies of one model's requests: quickly if nothing is unusual, else with care."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self.inputs = {spec.name: TensorReader(spec) for spec in signature.inputs}
        self.outputs = {spec.name: spec for spec in signature.outputs}
        self._flat = msgspec.json.Decoder(
            flat_body({name: reader.flat_type for name, reader in self.inputs.items()})
        )
        values = max_rows * sum(prod(spec.shape[1:]) for spec in signature.inputs)
        self._most_bytes = _LONGEST_HEAD + _LONGEST_NUMBER * values

    def read(self, body: bytes) -> InferBody:
        """Decode a body; the data of its inputs is decoded too, or else still JSON.

        Raises:
            InvalidRequestError: Not JSON, or not an inference request.
        """
        # Decoding along with the rest is for data as it should be: what is wrong with other data, or whether it
        # is only nested, is found out when the rest is known. A body that is too long is not decoded for nothing.
        if len(body) <= self._most_bytes:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self._flat.decode(body)
        return decode(_BODY, body)


class InferDialect:
    """Reads `POST /v2/models/{model_name}[/versions/{version}]/infer` and writes its answer."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._settings = settings
        self._readers: WeakKeyDictionary[Served, BodyReader] = WeakKeyDictionary()

    def served(self, exchange: Exchange) -> Served:
        """The model that the path names.

        Raises:
            NotFoundError: No such model or version.
        """
        name = exchange.path_parameter("model_name")
        if name is None:
            raise NotFoundError("expected a model name in the path, got none")
        return self._models.find(name, exchange.path_parameter("version"))

    def read(self, exchange: Exchange, body: bytes) -> Ask:
        """Check a request against the model's signature.

        Raises:
            InvalidRequestError: It does not fit; the message says what was expected and what came.
        """
        served = self.served(exchange)
        if exchange.header(b"inference-header-content-length") is not None:
            raise InvalidRequestError(f"header Inference-Header-Content-Length: {_NO_BINARY}")
        reader = self._reader_of(served)
        message = reader.read(body)
        parameters = message.parameters
        if parameters.binary_data_output:
            raise InvalidRequestError(f"parameter binary_data_output: {_NO_BINARY}")
        outputs = _requested_outputs(message, reader.outputs)
        budget_ms = self._budget_ms(exchange, parameters)
        tensors = _inputs_by_name(message.inputs, reader.inputs)
        rows = self._check_heads(tensors, reader.inputs)
        return Ask(
            served=served,
            inputs={
                name: tensor.read(tensors[name].data, tensors[name].shape)
                for name, tensor in reader.inputs.items()
            },
            rows=rows,
            budget_ms=budget_ms,
            wishes=Wishes(
                tier=parameters.tier,
                min_tier=parameters.min_tier,
                max_tier=parameters.max_tier,
                unit=checked_unit(parameters.unit, exchange.header(UNIT_HEADER)),
                priority=parameters.priority,
            ),
            id=message.id,
            outputs=outputs,
        )

    def render(self, ask: Ask, result: InferResult) -> bytes:
        """The answer without its parameters."""
        manifest = ask.served.manifest
        answer: dict[str, object] = {"model_name": manifest.name, "model_version": manifest.version}
        if ask.id is not None:
            answer["id"] = ask.id
        specs = self._reader_of(ask.served).outputs
        answer["outputs"] = [
            {
                "name": name,
                "datatype": specs[name].datatype,
                "shape": result.outputs[name].shape,
                "data": result.outputs[name].ravel().tolist(),
            }
            for name in ask.outputs
        ]
        return msgspec.json.encode(answer)

    def join(self, answer: bytes, facts: bytes) -> bytes:
        """The answer with what it took, as its parameters."""
        return b'%b,"parameters":%b}' % (answer[:-1], facts)

    def _budget_ms(self, exchange: Exchange, parameters: InferParameters) -> float:
        limit_ms = self._settings.max_budget_ms
        if parameters.timeout is not None:
            # Compared as integers: a JSON integer may be too large to become a float.
            if not 0 < parameters.timeout <= limit_ms * 1e3:
                raise InvalidRequestError(
                    f"parameter timeout: expected a budget of more than 0 and at most {limit_ms * 1e3:g} µs, "
                    f"got {parameters.timeout}"
                )
            return parameters.timeout / 1e3
        header = exchange.header(BUDGET_HEADER)
        return self._settings.default_budget_ms if header is None else header_budget_ms(header, limit_ms)

    def _reader_of(self, served: Served) -> BodyReader:
        reader = self._readers.get(served)
        if reader is None:
            reader = BodyReader(served.manifest.signature, self._settings.max_rows)
            self._readers[served] = reader
        return reader

    def _check_heads(self, tensors: Mapping[str, InferInput], readers: Mapping[str, TensorReader]) -> int:
        rows = {
            name: reader.check_head(tensors[name].datatype, tensors[name].shape)
            for name, reader in readers.items()
        }
        if len(set(rows.values())) != 1:
            raise InvalidRequestError(f"expected every input to have as many rows, got {rows}")
        count = next(iter(rows.values()))
        check_rows(count, self._settings.max_rows)
        return count


def _inputs_by_name(inputs: Iterable[InferInput], expected: Iterable[str]) -> dict[str, InferInput]:
    names = list(expected)
    found: dict[str, InferInput] = {}
    for tensor in inputs:
        if tensor.name in found:
            raise InvalidRequestError(f"expected each input once, got {tensor.name!r} twice")
        if tensor.name not in names:
            raise InvalidRequestError(f"expected inputs {names}, got unknown input {tensor.name!r}")
        _refuse_binary(f"input {tensor.name!r}", tensor.parameters)
        found[tensor.name] = tensor
    missing = [name for name in names if name not in found]
    if missing:
        raise InvalidRequestError(f"expected inputs {names}, missing {missing}")
    return found


def _requested_outputs(message: InferBody, known: Iterable[str]) -> tuple[str, ...]:
    known = list(known)
    if not message.outputs:
        return tuple(known)
    for output in message.outputs:
        if output.name not in known:
            raise InvalidRequestError(f"expected outputs among {known}, got {output.name!r}")
        _refuse_binary(f"output {output.name!r}", output.parameters)
    names = [output.name for output in message.outputs]
    if len(set(names)) != len(names):
        raise InvalidRequestError(f"expected each output once, got {names}")
    return tuple(names)


def _refuse_binary(where: str, parameters: TensorParameters) -> None:
    if parameters.binary_data_size is not None:
        raise InvalidRequestError(f"{where} parameter binary_data_size: {_NO_BINARY}")
    if parameters.binary_data:
        raise InvalidRequestError(f"{where} parameter binary_data: {_NO_BINARY}")
