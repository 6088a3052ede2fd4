"""Tensors in JSON: typed decoding straight into flat lists, then one pass into numpy.

Shapes: B rows; further dimensions are fixed by the signature.
"""

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from elastier_contract.signature import TensorSpec
from elastier_server.errors import InvalidRequestError
from elastier_server.protocol.decoding import decode

_JSON_TYPES: dict[str, Any] = {"b": bool, "i": int, "u": int, "f": float}
_PACK_CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}


class TensorReader:
    """Reads the data of one input, flat or nested, by its specification."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.flat_type: Any = _nested_list(_JSON_TYPES[spec.dtype.kind], 1)
        """What flat data decodes to, for who decodes a whole body at once."""
        self._where = f"input {spec.name!r}"
        self._code = _PACK_CODES[spec.datatype]
        self._flat: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(self.flat_type)
        self._nested: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(
            _nested_list(_JSON_TYPES[spec.dtype.kind], len(spec.shape))
        )
        self._columns = list(spec.shape[1:])
        self._unsigned, self._limits = _unsigned_limits(spec)

    def check_head(self, datatype: str, shape: list[int]) -> int:
        """Check what a tensor says about itself, and give its number of rows.

        Raises:
            InvalidRequestError: Another datatype, rank or size than the signature's.
        """
        if datatype != self.spec.datatype:
            raise InvalidRequestError(
                f"{self._where}: expected datatype {self.spec.datatype}, got {datatype!r}"
            )
        if not shape or shape[0] < 0 or shape[1:] != self._columns:
            expected = ", ".join(("rows", *map(str, self.spec.shape[1:])))
            raise InvalidRequestError(f"{self._where}: expected shape [{expected}], got {shape}")
        return shape[0]

    def read(self, data: msgspec.Raw | list[Any], shape: Sequence[int]) -> NDArray[Any]:
        """Read a tensor's data, as JSON or already as flat values; `shape` was checked.

        Returns:
            The signature's dtype, `shape`; read-only.

        Raises:
            InvalidRequestError: Wrong length, wrong kind of value, a value out of range, or not JSON.
        """
        size = math.prod(shape)
        values = data if isinstance(data, list) else self._values(bytes(data), shape, size)
        if len(values) != size:
            raise self._wrong_size(shape, size, len(values))
        try:
            packed = _packer(size, self._code).pack(*values)
        except (struct.error, OverflowError):  # a number that the datatype cannot hold
            raise self._refusal(values) from None
        array = np.frombuffer(packed, dtype=self.spec.dtype).reshape(shape)
        if not self._all_right(array):
            raise self._refusal(values)
        return array

    def _values(self, content: bytes, shape: Sequence[int], size: int) -> list[Any]:
        if not content:
            raise InvalidRequestError(f"{self._where}: expected data, got none")
        # Flat or nested, n values are parted by n - 1 commas: a wrong length costs no decoding.
        found = content.count(b",") + 1
        if found != size:
            raise self._wrong_size(shape, size, found)
        if content[1:].lstrip()[:1] != b"[" or len(shape) == 1:
            return decode(self._flat, content, root="data", where=self._where)
        values = decode(self._nested, content, root="data", where=self._where)
        for depth in range(len(shape) - 1):
            lengths = set(map(len, values))
            if len(values) != math.prod(shape[: depth + 1]) or lengths != {shape[depth + 1]}:
                raise InvalidRequestError(
                    f"{self._where}: expected data nested as its shape {list(shape)} says"
                )
            values = list(chain.from_iterable(values))
        return values

    def _wrong_size(self, shape: Sequence[int], size: int, found: int) -> InvalidRequestError:
        return InvalidRequestError(
            f"{self._where}: expected {size} values for shape {list(shape)}, got {found}"
        )

    def _all_right(self, array: NDArray[Any]) -> bool:
        if self._limits is not None:
            return all_true(array.view(self._unsigned) < self._limits)
        # JSON has no infinity, but what is beyond FP32 was packed as one.
        return self.spec.dtype.kind != "f" or all_true(np.isfinite(array))

    def _refusal(self, values: Sequence[Any]) -> InvalidRequestError:
        """What is wrong with the first wrong value, of which there is one."""
        if self.spec.dtype.kind == "f":
            with np.errstate(over="ignore"):
                finite = np.isfinite(np.array(values).astype(self.spec.dtype))
            index = int(finite.argmin())
            return self._wrong_value(index, f"a finite {self.spec.datatype} number", values[index])
        for index, value in enumerate(values):
            if not -(2**63) <= value < 2**63:
                return self._wrong_value(index, "a 64-bit integer", value)
        if self.spec.limits is not None:
            return self._wrong_id(values, self.spec.limits)
        info = np.iinfo(self.spec.dtype.str)
        index, value = next((i, v) for i, v in enumerate(values) if not info.min <= v <= info.max)
        return self._wrong_value(index, f"{info.min} to {info.max}", value)

    def _wrong_value(self, index: int, expected: str, value: float) -> InvalidRequestError:
        return InvalidRequestError(f"{self._where} data[{index}]: expected {expected}, got {value}")

    def _wrong_id(self, ids: Sequence[int], limits: Sequence[int]) -> InvalidRequestError:
        index = next(i for i, value in enumerate(ids) if not 0 <= value < limits[i % len(limits)])
        row, column = divmod(index, len(limits))
        return InvalidRequestError(
            f"{self._where} row {row} column {column}: "
            f"expected an id of 0 to {limits[column] - 1}, got {ids[index]}"
        )


def all_true(flags: NDArray[np.bool_]) -> bool:
    """What `flags.all()` is, in a tenth of the time: that one goes through Python and the machinery of reductions."""
    return 0 not in flags.tobytes()


@lru_cache(maxsize=1024)
def _packer(size: int, code: str) -> struct.Struct:
    return struct.Struct(f"{size}{code}")


def _unsigned_limits(spec: TensorSpec) -> tuple[np.dtype[Any], NDArray[np.uint64] | None]:
    """What to view ids as so that one comparison finds the negative ones too, which then are large; and with what."""
    unsigned = np.dtype(f"u{spec.dtype.itemsize}")
    if spec.limits is None or spec.dtype.kind == "f":
        return unsigned, None
    negative = np.iinfo(unsigned.str).max // 2 + 1
    most = [limit if spec.dtype.kind == "u" else min(limit, negative) for limit in spec.limits]
    return unsigned, np.array(most, dtype=np.uint64)


def _nested_list(item: Any, rank: int) -> Any:
    for _ in range(rank):
        item = list[item]
    return item
