"""Does a tier answer as torch does?

Shapes: R rows, C categorical columns, N numeric columns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from elastier_contract.features import CATEGORICAL, NUMERIC, FeatureSchema
from elastier_contract.signature import Signature
from elastier_exporter.errors import ParityError
from elastier_exporter.session import batches, run_rows
from elastier_trainer.submodel import Inputs, NestedModel, Submodel

TOLERANCE = 1e-4
"""Largest difference between two logits of the same row that rounding may explain."""

_INVENTED_ROWS = 256
_FAR_DEVIATIONS = 1e6
"""Standard deviations from the mean: beyond any real column, and still far from overflow in float32."""


def invented_rows(signature: Signature, features: FeatureSchema, seed: int) -> Sequence[Inputs]:
    """Valid rows that no data set has: random ones, and ones with every column at an end of what is valid."""
    rng = np.random.default_rng(seed)
    random = signature.sample_inputs(_INVENTED_ROWS, rng)
    tensors = {name: torch.from_numpy(array) for name, array in random.items()}
    return tensors, _corner_rows(features, rng)


def _corner_rows(features: FeatureSchema, rng: np.random.Generator) -> Inputs:
    """Each id the first (unknown) or the last, each number at the mean or far on either side of it."""
    rows: dict[str, torch.Tensor] = {}
    if features.categorical:
        last_C = np.array([column.size - 1 for column in features.categorical])
        ends_RC = rng.integers(0, 2, (_INVENTED_ROWS, len(last_C)))
        rows[CATEGORICAL] = torch.from_numpy(ends_RC * last_C)
    if features.numeric:
        mean_N, std_N = np.array([(column.mean, column.std) for column in features.numeric]).T
        sides_RN = rng.integers(-1, 2, (_INVENTED_ROWS, len(mean_N)))
        rows[NUMERIC] = torch.from_numpy((mean_N + sides_RN * _FAR_DEVIATIONS * std_N).astype(np.float32))
    return rows


def arrays_of(inputs: Inputs) -> dict[str, NDArray[Any]]:
    """Tensors as ONNX Runtime takes them."""
    return {name: tensor.numpy() for name, tensor in inputs.items()}


@torch.inference_mode()
def check_parity(
    name: str, session: ort.InferenceSession, model: NestedModel, submodel: Submodel, inputs: Inputs
) -> float:
    """Compare a tier's logits with the sub-model's on these rows, and give the largest difference.

    Raises:
        ParityError: It exceeds the tolerance, or a logit is not a number.
    """
    expected_RC = torch.cat([model.logits(batch, [submodel])[0] for batch in batches(inputs)]).numpy()
    difference = float(np.max(np.abs(run_rows(session, arrays_of(inputs)) - expected_RC)))
    if not difference <= TOLERANCE:
        raise ParityError(
            f"tier {name!r}: expected logits within {TOLERANCE:g} of torch's, got a difference of {difference:g}; "
            "nothing was written"
        )
    return difference
