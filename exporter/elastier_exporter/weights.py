"""The one weights file: every parameter of the nested model once, in ranges that tiers share.

Layout A: each parameter begins on a page; a narrower tier uses the same offset and a shorter length. What does
not nest along first axes (a smaller model dimension) is appended for the tier alone.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from elastier_contract.layout import ALIGNMENT_BYTES, WEIGHTS_FILE
from elastier_exporter.errors import GraphError

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Where a parameter lies in the weights file."""

    offset: int
    shape: tuple[int, ...]

    def tensor(self, name: str, shape: Sequence[int]) -> ir.ExternalTensor:
        """The parameter's first `shape[0]` rows, all of the rest, as a reference into the weights file.

        Raises:
            GraphError: That shape is not contiguous in it.
        """
        if tuple(shape[1:]) != self.shape[1:] or tuple(shape[:1]) > self.shape[:1]:
            raise GraphError(
                f"parameter {name!r}: expected a prefix along the first axis of {list(self.shape)}, "
                f"got {list(shape)}"
            )
        return ir.ExternalTensor(
            WEIGHTS_FILE,
            self.offset,
            math.prod(shape) * np.dtype(np.float32).itemsize,
            ir.DataType.FLOAT,
            shape=ir.Shape(shape),
            name=name,
        )


class WeightsFile:
    """The weights file of a bundle while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def append(self, name: str, array: NDArray[np.float32]) -> Range:
        """Write a parameter at the next page.

        Raises:
            GraphError: It is not of 32-bit floats, which the graphs' references say it is.
        """
        if array.dtype != np.float32:
            raise GraphError(f"parameter {name!r}: expected float32, got {array.dtype}")
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT_BYTES))
        place = Range(offset=self._file.tell(), shape=array.shape)
        self._file.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return place


@contextmanager
def weights_file(folder: Path) -> Iterator[WeightsFile]:
    """Write the weights file of the bundle in `folder`."""
    with (folder / WEIGHTS_FILE).open("wb") as file:
        yield WeightsFile(file)
