"""From the TA's graph to every tier's: the same nodes, initializers that are prefixes of the TA's.

Parameters are found by the names that the model itself gives, never by guessing at the graph.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from elastier_exporter.errors import GraphError
from elastier_exporter.weights import Range, Weights
from elastier_trainer.submodel import ParameterSlice

Slices = Mapping[str, ParameterSlice]
"""Parameter name in the TA's graph → what a tier uses in its place."""

_WEIGHT, _BIAS = 1, 2
"""Positions of a matrix product's operands."""

_REMEDY = "keep nested weights hidden-major and use them only as F.linear(x, up, bias) and h @ down"


def shares_graph(tier: Slices, ta: Slices) -> bool:
    """Whether a tier is the TA's graph with shorter initializers: all blocks kept, nested along first axes only."""
    return tier.keys() == ta.keys() and all(
        part.shape[1:] == ta[name].shape[1:] for name, part in tier.items()
    )


def check_sliceable(model: ir.Model, ta: Slices, tiers: Sequence[Slices], weights: Weights) -> None:
    """Make sure that what tiers replace came through the export, and that what they shorten may be shortened.

    Args:
        model: The TA's graph.
        ta: The TA's own parameters.
        tiers: Those of the tiers that are to share the graph.
        weights: The nested model's.

    Raises:
        GraphError: One is missing, unused or changed, or is computed on before a matrix product uses it.
    """
    for name, part in ta.items():
        if all(tier[name] == part for tier in tiers):
            continue
        fault = _fault(model, name, weights[part.source])
        if fault is None and any(tier[name].shape != part.shape for tier in tiers):
            fault = _misuse(model, name, tiers)
        if fault is not None:
            raise GraphError(f"nested parameter {name!r} {fault}: {_REMEDY}")


def _fault(model: ir.Model, name: str, weight: NDArray[np.float32]) -> str | None:
    """Why this parameter of the TA cannot be replaced in its graph, in words, or None."""
    value = model.graph.initializers.get(name)
    if value is None or value.const_value is None:
        return "is not an initializer of the TA's graph"
    found = value.const_value.numpy()
    if not np.array_equal(found, weight, equal_nan=True):
        return f"was changed by the export, {list(weight.shape)} to {list(found.shape)}"
    if not value.uses():
        return "is used by no node of the TA's graph"
    return None


def _misuse(model: ir.Model, name: str, tiers: Sequence[Slices]) -> str | None:
    """Why no prefix of this parameter can stand for it, in words, or None."""
    for use in model.graph.initializers[name].uses():
        node, position = use.node, use.idx
        if position == _WEIGHT and node.op_type in {"Gemm", "MatMul"}:
            continue
        if position != _BIAS or node.op_type != "Gemm":
            return f"is input {position} of {node.op_type}, expected a plain operand of Gemm or MatMul"
        weight = node.inputs[_WEIGHT]
        of = "" if weight is None else weight.name or ""
        # A bias that shrinks while its weight does not would fail only when the tier first runs.
        if any(of not in tier or tier[of].shape[0] != tier[name].shape[0] for tier in tiers):
            return "is the bias of a Gemm whose weight does not nest with it"
    return None


def point_at_weights(model: ir.Model, tensors: Mapping[str, ir.ExternalTensor]) -> None:
    """Make a graph refer to the weights file, and drop what only tracing needed.

    Raises:
        GraphError: A parameter is not in the graph.
    """
    graph = model.graph
    for name, tensor in tensors.items():
        if name not in graph.initializers:
            raise GraphError(f"parameter {name!r} is not an initializer of the graph")
        graph.initializers[name].const_value = tensor
        graph.initializers[name].shape = tensor.shape
    model.metadata_props.clear()
    graph.metadata_props.clear()
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if not value.is_graph_output():
                value.shape = None  # it tells the TA's hidden units


def slice_tier(model: ir.Model, tier: Slices, ranges: Mapping[str, Range]) -> ir.Model:
    """The graph of a tier from the TA's, which stays as it is."""
    sliced: ir.Model = ir.from_proto(ir.to_proto(model))
    tensors = {
        name: ranges[part.source].tensor(name, part.shape)
        for name, part in tier.items()
        if name in sliced.graph.initializers  # what the forward pass does not use, torch leaves out
    }
    point_at_weights(sliced, tensors)
    return sliced
