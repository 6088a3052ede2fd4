"""From the TA's graph to every tier's: the same nodes, initializers that are prefixes of the TA's.

Nested parameters are found by the names that the model itself gives, never by guessing at the graph.
"""

from collections.abc import Mapping

import onnx_ir as ir

from elastier_exporter.errors import GraphError
from elastier_exporter.weights import Range
from elastier_trainer.nesting import NestedParameter, Widths

_SLICEABLE = {"Gemm": (1, 2), "MatMul": (1,)}
"""Operator → positions of the operands whose prefix can stand for the whole."""

_REMEDY = "keep nested weights hidden-major and use them only as F.linear(x, up, bias) and h @ down"


def check_sliceable(model: ir.Model, nested: Mapping[str, NestedParameter]) -> None:
    """Make sure that every nested parameter is a plain operand of a matrix product.

    Raises:
        GraphError: One is missing, nests along another axis, or is computed on before it is used.
    """
    for name, parameter in nested.items():
        value = model.graph.initializers.get(name)
        if value is None:
            raise GraphError(f"nested parameter {name!r} is not an initializer of the TA's graph: {_REMEDY}")
        if parameter.axis != 0:
            raise GraphError(
                f"nested parameter {name!r} nests along axis {parameter.axis}, expected 0: {_REMEDY}"
            )
        for use in value.uses():
            if use.idx not in _SLICEABLE.get(use.node.op_type, ()):
                raise GraphError(
                    f"nested parameter {name!r} is input {use.idx} of {use.node.op_type}, "
                    f"expected a plain operand of Gemm or MatMul: {_REMEDY}"
                )


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
