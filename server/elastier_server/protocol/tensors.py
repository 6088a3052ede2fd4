"""Tensors in JSON: typed decoding straight into lists, then one pass into numpy.

Shapes: B rows; further dimensions are fixed by the signature.
"""

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from elastier_contract.signature import TensorSpec
from elastier_server.errors import InvalidRequestError
from elastier_server.protocol.decoding import decode

_JSON_TYPES: dict[str, Any] = {"b": bool, "i": int, "u": int, "f": float}
_PACK_CODES = {"b": "?", "i": "q", "u": "q", "f": "d"}
_WIDE = {"b": np.dtype(np.bool_), "i": np.dtype(np.int64), "u": np.dtype(np.int64), "f": np.dtype(np.float64)}


class TensorReader:
    """Reads the data of one input, flat or nested, by its specification."""

    def __init__(self, spec: TensorSpec) -> None:
        kind = spec.dtype.kind
        self.spec = spec
        self._where = f"input {spec.name!r}"
        self._code = _PACK_CODES[kind]
        self._wide = _WIDE[kind]
        self._flat: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(_nested_list(_JSON_TYPES[kind], 1))
        self._nested: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(
            _nested_list(_JSON_TYPES[kind], len(spec.shape))
        )
        self._limits = None if spec.limits is None else np.array(spec.limits, dtype=np.int64)

    def check_head(self, datatype: str, shape: Sequence[int]) -> int:
        """Check what a tensor says about itself, and give its number of rows.

        Raises:
            InvalidRequestError: Another datatype, rank or size than the signature's.
        """
        if datatype != self.spec.datatype:
            raise InvalidRequestError(
                f"{self._where}: expected datatype {self.spec.datatype}, got {datatype!r}"
            )
        if len(shape) != len(self.spec.shape) or tuple(shape[1:]) != self.spec.shape[1:] or shape[0] < 0:
            expected = ", ".join(("rows", *map(str, self.spec.shape[1:])))
            raise InvalidRequestError(f"{self._where}: expected shape [{expected}], got {list(shape)}")
        return shape[0]

    def read(self, data: msgspec.Raw, shape: Sequence[int]) -> NDArray[Any]:
        """Read a tensor's data; `shape` was checked.

        Returns:
            The signature's dtype, `shape`.

        Raises:
            InvalidRequestError: Wrong length, wrong kind of value, a value out of range, or not JSON.
        """
        content = memoryview(data)
        size = math.prod(shape)
        if len(content) == 0:
            raise InvalidRequestError(f"{self._where}: expected data, got none")
        values = self._values(bytes(content), shape, size)
        try:
            packed = struct.pack(f"{size}{self._code}", *values)
        except struct.error:
            row, value = next((i, v) for i, v in enumerate(values) if not -(2**63) <= v < 2**63)
            raise InvalidRequestError(
                f"{self._where} data[{row}]: expected a 64-bit integer, got {value}"
            ) from None
        return self._narrow(np.frombuffer(packed, dtype=self._wide)).reshape(shape)

    def _values(self, content: bytes, shape: Sequence[int], size: int) -> list[Any]:
        # Flat or nested, n values are parted by n - 1 commas: a wrong length costs no decoding.
        found = content.count(b",") + 1
        if found != size:
            raise self._wrong_size(shape, size, found)
        if content[1:].lstrip()[:1] != b"[" or len(shape) == 1:
            values = decode(self._flat, content, root="data", where=self._where)
            if len(values) != size:
                raise self._wrong_size(shape, size, len(values))
            return values
        values = decode(self._nested, content, root="data", where=self._where)
        for depth in range(len(shape) - 1):
            if len(values) != math.prod(shape[: depth + 1]) or any(
                len(part) != shape[depth + 1] for part in values
            ):
                raise InvalidRequestError(
                    f"{self._where}: expected data nested as its shape {list(shape)} says"
                )
            values = list(chain.from_iterable(values))
        return values

    def _wrong_size(self, shape: Sequence[int], size: int, found: int) -> InvalidRequestError:
        return InvalidRequestError(
            f"{self._where}: expected {size} values for shape {list(shape)}, got {found}"
        )

    def _narrow(self, values: NDArray[Any]) -> NDArray[Any]:
        kind = self.spec.dtype.kind
        if kind == "f":
            with np.errstate(over="ignore"):
                narrow = values.astype(self.spec.dtype)
            finite = np.isfinite(narrow)
            if not finite.all():
                raise self._wrong_value(~finite, values, f"a finite {self.spec.datatype} number")
            return narrow
        if kind in "iu":
            self._check_integers(values)
        return values.astype(self.spec.dtype)

    def _check_integers(self, values: NDArray[np.int64]) -> None:
        if self._limits is None:
            info = np.iinfo(self.spec.dtype.str)
            wrong = (values < info.min) | (values > info.max)
            if wrong.any():
                raise self._wrong_value(wrong, values, f"{info.min} to {info.max}")
            return
        ids_BC = values.reshape(-1, len(self._limits))
        wrong_BC = (ids_BC < 0) | (ids_BC >= self._limits)
        if wrong_BC.any():
            row, column = map(int, np.argwhere(wrong_BC)[0])
            raise InvalidRequestError(
                f"{self._where} row {row} column {column}: "
                f"expected an id of 0 to {self._limits[column] - 1}, got {ids_BC[row, column]}"
            )

    def _wrong_value(
        self, wrong: NDArray[np.bool_], values: NDArray[Any], expected: str
    ) -> InvalidRequestError:
        first = int(wrong.argmax())
        return InvalidRequestError(f"{self._where} data[{first}]: expected {expected}, got {values[first]}")


def _nested_list(item: Any, rank: int) -> Any:
    for _ in range(rank):
        item = list[item]
    return item
