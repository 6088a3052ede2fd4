"""Does a tier answer as torch does?

Shapes: R rows.
"""

import numpy as np
import onnxruntime as ort
import torch

from elastier_contract.signature import Signature
from elastier_exporter.errors import ParityError
from elastier_exporter.session import batches, run_rows
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import Widths

TOLERANCE = 1e-4
"""Largest difference between two logits of the same row that rounding may explain."""

_RANDOM_ROWS = 256


def random_rows(signature: Signature, seed: int) -> dict[str, torch.Tensor]:
    """Valid rows that no data set has."""
    inputs = signature.sample_inputs(_RANDOM_ROWS, np.random.default_rng(seed))
    return {name: torch.from_numpy(array) for name, array in inputs.items()}


@torch.inference_mode()
def check_parity(
    name: str, session: ort.InferenceSession, model: Ranker, widths: Widths, inputs: dict[str, torch.Tensor]
) -> float:
    """Compare a tier's logits with the sub-model's on these rows, and give the largest difference.

    Raises:
        ParityError: It exceeds the tolerance, or a logit is not a number.
    """
    expected_R = torch.cat([model(batch, widths)[:, 0] for batch in batches(inputs)]).numpy()
    difference = float(np.max(np.abs(run_rows(session, inputs) - expected_R)))
    if not difference <= TOLERANCE:
        raise ParityError(
            f"tier {name!r}: expected logits within {TOLERANCE:g} of torch's, got a difference of {difference:g}; "
            "nothing was written"
        )
    return difference
