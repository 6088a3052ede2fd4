"""From the TA's graph to every tier's: the same nodes, initializers that are prefixes of the TA's.

Nested parameters are found by the names that the model itself gives, never by guessing at the graph.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from elastier_exporter.errors import GraphError
from elastier_exporter.weights import Range, Weights
from elastier_trainer.nesting import NestedParameter, Widths

_WEIGHT, _BIAS = 1, 2
"""Positions of a matrix product's operands."""

_REMEDY = "keep nested weights hidden-major and use them only as F.linear(x, up, bias) and h @ down"


def check_sliceable(model: ir.Model, nested: Mapping[str, NestedParameter], weights: Weights) -> None:
    """Make sure that every nested parameter is a plain operand of a matrix product, unchanged by the export.

    Raises:
        GraphError: One is missing, unused, changed, nests along another axis, or is computed on before it is used.
    """
    for name in nested:
        fault = _fault(model, name, nested, weights)
        if fault is not None:
            raise GraphError(f"nested parameter {name!r} {fault}: {_REMEDY}")


def _fault(model: ir.Model, name: str, nested: Mapping[str, NestedParameter], weights: Weights) -> str | None:
    """Why no prefix of this parameter can stand for it, in words, or None."""
    parameter, value = nested[name], model.graph.initializers.get(name)
    if value is None or value.const_value is None:
        return "is not an initializer of the TA's graph"
    if parameter.axis != 0:
        return f"nests along axis {parameter.axis}, expected 0"
    found = value.const_value.numpy()
    if not np.array_equal(found, weights[name], equal_nan=True):
        return f"was changed by the export, {list(weights[name].shape)} to {list(found.shape)}"
    if not value.uses():
        return "is used by no node of the TA's graph"
    faults = (_misuse(use.node, use.idx, parameter, nested) for use in value.uses())
    return next((fault for fault in faults if fault is not None), None)


def _misuse(
    node: ir.Node, position: int, parameter: NestedParameter, nested: Mapping[str, NestedParameter]
) -> str | None:
    if position == _WEIGHT and node.op_type in {"Gemm", "MatMul"}:
        return None
    if position == _BIAS and node.op_type == "Gemm":
        weight = node.inputs[_WEIGHT]
        # A bias that shrinks while its weight does not would fail only when the tier first runs.
        if weight is not None and nested.get(weight.name or "") == parameter:
            return None
        return f"is the bias of a Gemm whose weight does not nest in block {parameter.block}"
    return f"is input {position} of {node.op_type}, expected a plain operand of Gemm or MatMul"


def point_at_weights(model: ir.Model, ranges: Mapping[str, Range]) -> None:
    """Make the TA's graph refer to the weights file, and drop what only tracing needed.

    Raises:
        GraphError: A parameter is not in the graph.
    """
    graph = model.graph
    for name, place in ranges.items():
        if name not in graph.initializers:
            raise GraphError(f"parameter {name!r} is not an initializer of the TA's graph")
        graph.initializers[name].const_value = place.tensor(name)
    model.metadata_props.clear()
    graph.metadata_props.clear()
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if not value.is_graph_output():
                value.shape = None  # it tells the TA's hidden units


def slice_tier(
    model: ir.Model,
    nested: Mapping[str, NestedParameter],
    ranges: Mapping[str, Range],
    widths: Widths,
) -> ir.Model:
    """The graph of the tier with these widths, from the TA's, which stays as it is."""
    tier = ir.from_proto(ir.to_proto(model))
    for name, parameter in nested.items():
        tensor = ranges[name].tensor(name, widths[parameter.block])
        value = tier.graph.initializers[name]
        value.const_value = tensor
        value.shape = tensor.shape
    sliced: ir.Model = tier
    return sliced
