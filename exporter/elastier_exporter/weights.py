"""The one weights file: every parameter of the TA once, in ranges that tiers share.

Layout A: each parameter begins on a page; a narrower tier uses the same offset and a shorter length. That needs
nested parameters to nest along their first axis, which is how the nested layers keep them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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

    def tensor(self, name: str, kept: int | None = None) -> ir.ExternalTensor:
        """The parameter, or its first `kept` rows, as a reference into the weights file."""
        shape = self.shape if kept is None else (kept, *self.shape[1:])
        return ir.ExternalTensor(
            WEIGHTS_FILE,
            self.offset,
            math.prod(shape) * np.dtype(np.float32).itemsize,
            ir.DataType.FLOAT,
            shape=ir.Shape(shape),
            name=name,
        )


def write_weights(folder: Path, weights: Weights) -> dict[str, Range]:
    """Write the weights file into a bundle's folder, and say where each parameter lies.

    Raises:
        GraphError: A parameter is not of 32-bit floats, which the graphs' references say it is.
    """
    ranges: dict[str, Range] = {}
    with (folder / WEIGHTS_FILE).open("wb") as file:
        for name, array in weights.items():
            if array.dtype != np.float32:
                raise GraphError(f"parameter {name!r}: expected float32, got {array.dtype}")
            file.write(b"\0" * (-file.tell() % ALIGNMENT_BYTES))
            ranges[name] = Range(offset=file.tell(), shape=array.shape)
            file.write(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return ranges
