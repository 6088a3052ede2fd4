"""`POST /v1/predict`: named columns in, probabilities or values out; for people.

Shapes: B rows, C classes.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from elastier_contract.features import FeatureSchema
from elastier_contract.manifest import Manifest
from elastier_server.errors import InvalidRequestError
from elastier_server.inference import InferResult
from elastier_server.protocol.asking import (
    BUDGET_HEADER,
    UNIT_HEADER,
    Ask,
    Wishes,
    check_rows,
    checked_budget_ms,
    checked_unit,
    header_budget_ms,
)
from elastier_server.protocol.decoding import decode
from elastier_server.protocol.exchange import Exchange
from elastier_server.protocol.messages import PredictBody
from elastier_server.settings import Settings
from elastier_server.state import Models, Served

_BODY = msgspec.json.Decoder(PredictBody)


class RowReader:
    """Reads rows of named columns by a schema: types and names are checked while the JSON is decoded."""

    def __init__(self, schema: FeatureSchema) -> None:
        fields = [(f"c{i}", str | int) for i in range(len(schema.categorical))]
        numeric = [(f"n{i}", float) for i in range(len(schema.numeric))]
        # Column names need not be identifiers, so the fields are numbered and renamed.
        names = [name for name, _ in (*fields, *numeric)]
        row = msgspec.defstruct(
            "Row",
            [*fields, *numeric],
            rename=dict(zip(names, schema.columns, strict=True)),
            forbid_unknown_fields=True,
            frozen=True,
        )
        self._schema = schema
        self._rows: msgspec.json.Decoder[list[msgspec.Struct]] = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]

    def read(self, content: msgspec.Raw) -> dict[str, Sequence[Any]]:
        """Column name → B values.

        Raises:
            InvalidRequestError: Not rows of these columns.
        """
        rows = decode(self._rows, content, root="rows")
        columns = (
            zip(*map(msgspec.structs.astuple, rows), strict=True)
            if rows
            else [()] * len(self._schema.columns)
        )
        return dict(zip(self._schema.columns, columns, strict=True))


class PredictDialect:
    """Reads `POST /v1/predict` and writes its answer."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._settings = settings
        self._readers: WeakKeyDictionary[Served, RowReader] = WeakKeyDictionary()

    def served(self, exchange: Exchange) -> Served | None:  # noqa: ARG002 - the body names it, if it must be named
        """The only model, or None if the body has to name one."""
        names = self._models.names
        return self._models.find(names[0]) if len(names) == 1 else None

    def read(self, exchange: Exchange, body: bytes) -> Ask:
        """Encode rows by the bundle's own vocabulary.

        Raises:
            NotFoundError: No such model or version.
            InvalidRequestError, FeatureError: The rows do not fit the schema.
        """
        message = decode(_BODY, body)
        served = self._served_by_body(message)
        schema = served.manifest.features
        if schema is None:
            raise InvalidRequestError(
                f"model {served.manifest.name!r} has no feature schema: send tensors to "
                f"/v2/models/{served.manifest.name}/infer"
            )
        budget_ms = self._budget_ms(exchange, message)
        columns = self._reader_of(served, schema).read(message.rows)
        rows = len(columns[schema.columns[0]])
        check_rows(rows, self._settings.max_rows)
        return Ask(
            served=served,
            inputs=schema.encode(columns),
            rows=rows,
            budget_ms=budget_ms,
            wishes=Wishes(
                tier=message.tier,
                min_tier=message.min_tier,
                max_tier=message.max_tier,
                unit=checked_unit(message.unit, exchange.header(UNIT_HEADER)),
                priority=message.priority,
            ),
        )

    def render(self, ask: Ask, result: InferResult) -> bytes:
        """The scores, without what they took; with several classes, their names too."""
        manifest = ask.served.manifest
        outputs = result.outputs[manifest.signature.outputs[0].name]
        answer: dict[str, Any] = {"model": manifest.name}
        if manifest.classes:
            answer["classes"] = manifest.classes
        return msgspec.json.encode(answer | {"scores": scores(manifest, outputs).tolist()})

    def join(self, answer: bytes, facts: bytes) -> bytes:
        """The scores and what they took, side by side."""
        return b"%b,%b" % (answer[:-1], facts[1:])

    def _served_by_body(self, message: PredictBody) -> Served:
        names = self._models.names
        if message.model is None and len(names) > 1:
            raise InvalidRequestError(f"expected a field 'model', one of {names}, got none")
        return self._models.find(message.model or names[0], message.version)

    def _budget_ms(self, exchange: Exchange, message: PredictBody) -> float:
        header = exchange.header(BUDGET_HEADER)
        if header is not None:
            return header_budget_ms(header, self._settings.max_budget_ms)
        if message.budget_ms is None:
            return self._settings.default_budget_ms
        return checked_budget_ms(message.budget_ms, self._settings.max_budget_ms, "budget_ms")

    def _reader_of(self, served: Served, schema: FeatureSchema) -> RowReader:
        reader = self._readers.get(served)
        if reader is None:
            reader = self._readers[served] = RowReader(schema)
        return reader


def scores(manifest: Manifest, outputs: NDArray[Any]) -> NDArray[np.float64]:
    """What the outputs of a model mean.

    Returns:
        Probabilities of the positive class [B], of each class [B, C], or values in the label's units [B].
    """
    match manifest.task:
        case "binary":
            return _sigmoid(outputs.ravel())
        case "multiclass":
            return _softmax(outputs)
        case "regression":
            values_B: NDArray[np.float64] = outputs.ravel().astype(np.float64)
            if manifest.label_mean is None or manifest.label_std is None:
                return values_B
            return manifest.label_mean + manifest.label_std * values_B


def _sigmoid(logits_B: NDArray[Any]) -> NDArray[np.float64]:
    # tanh does not overflow, whatever the logit.
    half_B: NDArray[np.float64] = 0.5 * logits_B.astype(np.float64)
    return 0.5 * (1.0 + np.tanh(half_B))


def _softmax(logits_BC: NDArray[Any]) -> NDArray[np.float64]:
    # The largest exponent is 0, so nothing overflows, and the sum is at least 1.
    shifted_BC: NDArray[np.float64] = logits_BC.astype(np.float64)
    powers_BC: NDArray[np.float64] = np.exp(shifted_BC - shifted_BC.max(axis=1, keepdims=True))
    shares_BC: NDArray[np.float64] = powers_BC / powers_BC.sum(axis=1, keepdims=True)
    return shares_BC
