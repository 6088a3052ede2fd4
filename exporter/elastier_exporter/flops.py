"""Floating-point operations of one row, from a graph of any source."""

import math

import onnx
import onnx_ir as ir

from elastier_exporter.errors import TierError

_PRODUCTS = {"MatMul", "Gemm"}
_CONVOLUTIONS = {"Conv", "ConvTranspose"}


def flops_per_row(tier: str, model: ir.Model) -> int:
    """Two per multiply-add of every matrix product and convolution; at least 1, for a graph without any.

    The first dimension of what they give is taken to be the rows.

    Raises:
        TierError: The shape of one cannot be inferred.
    """
    proto = ir.to_proto(_without_values(model))
    graph = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {value.name: _dims(value) for value in (*graph.value_info, *graph.output, *graph.input)}
    shapes |= {
        name: [int(size) for size in value.shape.numpy()]
        for name, value in model.graph.initializers.items()
        if value.shape is not None
    }
    flops = 0
    for node in graph.node:
        if node.op_type not in _PRODUCTS | _CONVOLUTIONS or node.domain not in {"", "ai.onnx"}:
            continue
        inner, outer = shapes.get(node.input[1]), shapes.get(node.output[0])
        # In a convolution every output number sums over a kernel, in a product over its inner dimension.
        if outer is None or inner is None or None in outer[1:] or None in inner:
            raise TierError(
                f"tier {tier!r}: expected shapes that can be inferred, got none for {node.op_type} "
                f"{node.name or node.output[0]!r}: give its flops_per_row"
            )
        summed = math.prod(inner[1:]) if node.op_type in _CONVOLUTIONS else _inner(node, inner)  # type: ignore[arg-type]
        flops += 2 * math.prod(outer[1:]) * summed  # type: ignore[arg-type]
    return max(1, flops)


def _inner(node: onnx.NodeProto, second: list[int]) -> int:
    """The dimension that a matrix product sums over."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return second[-1] if transposed or len(second) == 1 else second[-2]


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]


def _without_values(model: ir.Model) -> ir.Model:
    """The graph with large initializers as inputs: shapes follow from their dimensions."""
    light = model.clone()
    for name, value in tuple(light.graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > 1024:
            light.graph.initializers.pop(name)
            value.shape, value.dtype = ir.Shape(tensor.shape.numpy()), tensor.dtype
            value.const_value = None
            light.graph.inputs.append(value)
    return light
