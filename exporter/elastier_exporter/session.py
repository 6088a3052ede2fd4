"""Tiers in ONNX Runtime, opened as the server opens them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract.layout import GRAPH_OPTIMIZATION, Layout, session_attributes, session_config
from elastier_contract.manifest import OUTPUT
from elastier_contract.profile import RunTier
from elastier_contract.signature import Signature
from elastier_trainer.submodel import Inputs

_BATCH_ROWS = 1024


def open_session(folder: Path, graph: str, layout: Layout, threads: int) -> ort.InferenceSession:
    """Open a tier's graph, which lies in a bundle's folder."""
    options = ort.SessionOptions()
    for name, setting in session_attributes(threads).items():
        setattr(options, name, setting)
    options.graph_optimization_level = ort.GraphOptimizationLevel(GRAPH_OPTIMIZATION)
    for key, value in session_config(layout, folder).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(folder / graph, options, providers=["CPUExecutionProvider"])


def batches(inputs: Inputs) -> Iterator[dict[str, Tensor]]:
    """All rows in pieces whose activations stay small: tensors [R, ...] → tensors [at most 1024, ...]."""
    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, _BATCH_ROWS):
        yield {name: x[start : start + _BATCH_ROWS] for name, x in inputs.items()}


def run_rows(session: ort.InferenceSession, inputs: Inputs) -> NDArray[np.float32]:
    """Outputs of all rows: tensors [R, ...] → [R, C]."""
    pieces = [
        session.run([OUTPUT], {name: x.numpy() for name, x in batch.items()})[0] for batch in batches(inputs)
    ]
    logits_RC: NDArray[np.float32] = np.concatenate(pieces)
    return logits_RC


def runner(sessions: dict[str, ort.InferenceSession], signature: Signature) -> RunTier:
    """A function that runs a tier on that many random valid rows; rows of a size are made once."""
    made: dict[int, dict[str, NDArray[np.generic]]] = {}

    def run(tier: str, rows: int) -> None:
        if rows not in made:
            made[rows] = signature.sample_inputs(rows, np.random.default_rng(rows))
        sessions[tier].run([OUTPUT], made[rows])

    return run
