"""What a model takes and gives: tensor names, datatypes and shapes.

Datatypes are those of the Open Inference Protocol v2
(https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md#tensor-data-types).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from elastier_contract.model import FrozenModel

Datatype = Literal["BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "FP16", "FP32", "FP64"]

NUMPY_DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT8": np.dtype(np.uint8),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}


class TensorSpec(FrozenModel):
    """One input or output; the first dimension is the rows, written −1."""

    name: str = Field(min_length=1)
    datatype: Datatype
    shape: tuple[int, ...] = Field(min_length=1)
    limits: tuple[int, ...] | None = None
    """For integer ids, one exclusive upper bound per column: 0 <= x[:, j] < limits[j]."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The numpy dtype of this tensor."""
        return NUMPY_DTYPES[self.datatype]

    @model_validator(mode="after")
    def _rows_first(self) -> "TensorSpec":
        if self.shape[0] != -1 or any(size < 1 for size in self.shape[1:]):
            raise ValueError(f"shape of {self.name!r} must be -1 (rows), then fixed sizes, got {self.shape}")
        if self.limits is not None and (len(self.shape) != 2 or len(self.limits) != self.shape[1]):
            raise ValueError(
                f"limits of {self.name!r} must be one per column of {self.shape}, got {len(self.limits)}"
            )
        return self


class Signature(FrozenModel):
    """All inputs and outputs of a model, the same for each of its tiers."""

    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique_names(self) -> "Signature":
        for specs in (self.inputs, self.outputs):
            names = [spec.name for spec in specs]
            if len(set(names)) != len(names):
                raise ValueError(f"tensor names must be unique, got {names}")
        return self

    def sample_inputs(self, rows: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Random valid inputs: ids within their limits, standard normal numbers; to warm and to measure with."""
        return {spec.name: _sample(spec, rows, rng) for spec in self.inputs}


def _sample(spec: TensorSpec, rows: int, rng: np.random.Generator) -> NDArray[Any]:
    shape = (rows, *spec.shape[1:])
    if spec.limits is not None:
        return rng.integers(0, np.array(spec.limits), size=shape).astype(spec.dtype)
    if spec.dtype.kind == "f":
        return rng.standard_normal(shape).astype(spec.dtype)
    return rng.integers(0, 2, size=shape).astype(spec.dtype)
