"""Tiers in ONNX Runtime, opened as the server opens them. Needs no torch.

Shapes: R rows, C outputs a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import ValidationError

from elastier_contract.layout import GRAPH_OPTIMIZATION, Layout, session_attributes, session_config
from elastier_contract.profile import RunTier
from elastier_contract.signature import Datatype, Signature, TensorSpec
from elastier_exporter.errors import SignatureError

Rows = TypeVar("Rows", bound=Any)
"""Arrays or tensors, rows first."""

_BATCH_ROWS = 1024
_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


def open_session(folder: Path, graph: str, layout: Layout, threads: int) -> ort.InferenceSession:
    """Open a tier's graph, which lies in a bundle's folder."""
    options = session_options(folder, layout, threads)
    return ort.InferenceSession(folder / graph, options, providers=["CPUExecutionProvider"])


def session_options(folder: Path, layout: Layout, threads: int) -> ort.SessionOptions:
    """How tiers of a bundle in `folder` are opened."""
    options = ort.SessionOptions()
    for name, setting in session_attributes(threads).items():
        setattr(options, name, setting)
    options.graph_optimization_level = ort.GraphOptimizationLevel(GRAPH_OPTIMIZATION)
    for key, value in session_config(layout, folder).items():
        options.add_session_config_entry(key, value)
    return options


def signature_of(tier: str, session: ort.InferenceSession, limits: Mapping[str, Sequence[int]]) -> Signature:
    """What a session takes and gives.

    Args:
        tier: The tier's name, for errors.
        session: An opened session.
        limits: Input of ids → exclusive upper bound of each column.

    Raises:
        SignatureError: Tensors that no bundle can carry: of another kind, or without open rows.
    """
    try:
        return Signature(
            inputs=tuple(_spec(node, limits) for node in session.get_inputs()),
            outputs=tuple(_spec(node, {}) for node in session.get_outputs()),
        )
    except (ValidationError, SignatureError) as error:
        raise SignatureError(f"tier {tier!r}: {error}") from error


def _spec(node: Any, limits: Mapping[str, Sequence[int]]) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise SignatureError(f"{node.name}: expected one of {sorted(_DATATYPES)}, got {node.type}")
    rows, *sizes = node.shape or [1]
    if isinstance(rows, int) or not all(isinstance(size, int) for size in sizes):
        raise SignatureError(
            f"{node.name}: expected an open number of rows first and fixed sizes behind it, got {node.shape}"
        )
    bounds = limits.get(node.name)
    return TensorSpec(
        name=node.name,
        datatype=_DATATYPES[node.type],
        shape=(-1, *sizes),
        limits=None if bounds is None else tuple(bounds),
    )


def batches(inputs: Mapping[str, Rows]) -> Iterator[dict[str, Rows]]:
    """All rows in pieces whose activations stay small: [R, ...] → [at most 1024, ...]."""
    rows = len(next(iter(inputs.values())))
    for start in range(0, rows, _BATCH_ROWS):
        yield {name: x[start : start + _BATCH_ROWS] for name, x in inputs.items()}


def run_rows(
    session: ort.InferenceSession, inputs: Mapping[str, NDArray[Any]], output: str | None = None
) -> NDArray[Any]:
    """An output of all rows, the first by default: arrays [R, ...] → [R, C]."""
    names = [session.get_outputs()[0].name if output is None else output]
    return np.concatenate([session.run(names, batch)[0] for batch in batches(inputs)])


def runner(sessions: Mapping[str, ort.InferenceSession], signature: Signature) -> RunTier:
    """A function that runs a tier on that many random valid rows; rows of a size are made once."""
    made: dict[int, dict[str, NDArray[Any]]] = {}

    def run(tier: str, rows: int) -> None:
        if rows not in made:
            made[rows] = signature.sample_inputs(rows, np.random.default_rng(rows))
        sessions[tier].run(None, made[rows])

    return run
