"""Edits of a graph that a tier needs beyond shorter weights.

Shapes: B rows, K inputs and N outputs of a matrix product.
"""

from collections.abc import Set as AbstractSet
from itertools import accumulate, pairwise

import onnx_ir as ir

from elastier_exporter.errors import GraphError

SPLIT_INPUTS = 256
"""ONNX Runtime packs a matrix in blocks of so many inputs: within one, fewer outputs are a prefix of the bytes."""

_WEIGHT, _BIAS = 1, 2
"""Positions of a matrix product's operands."""
_TRANSPOSED = "transB"
_RANK = 2
"""Of a matrix."""


def is_product(node: ir.Node) -> bool:
    """Whether a node is a matrix product, whose second operand ONNX Runtime packs."""
    return node.domain == "" and node.op_type in {"Gemm", "MatMul"}


def remove_transposes(weight: ir.Value) -> bool:
    """Let a matrix that is only ever transposed be used as it then is; whether it is to be stored transposed."""
    uses = weight.uses()
    if not uses or not all(_is_transpose(use.node) for use in uses):
        return False
    for use in tuple(uses):
        node = use.node
        node.outputs[0].replace_all_uses_with(weight)
        node.graph.remove(node, safe=True)  # type: ignore[union-attr]
    return True


def multiply_untransposed(weight: ir.Value) -> bool:
    """Let `Gemm` take a matrix as [K, N] in place of [N, K], so that fewer inputs are a prefix of it.

    Whether it is to be stored transposed.
    """
    uses = weight.uses()
    if not all(use.idx == _WEIGHT and is_product(use.node) and transposes(use.node) for use in uses):
        return False
    for use in uses:
        del use.node.attributes[_TRANSPOSED]
    return True


def transposes(node: ir.Node) -> bool:
    """Whether a `Gemm` takes its second operand as [N, K]."""
    attribute = node.attributes.get(_TRANSPOSED)
    return attribute is not None and attribute.as_int() == 1


def splittable(weight: ir.Value) -> bool:
    """Whether a matrix [N, K] is used by `Gemm` alone, and has more inputs than ONNX Runtime packs as one block."""
    shape = weight.shape
    return (
        shape is not None
        and len(shape) == _RANK
        and isinstance(shape[1], int)
        and shape[1] > SPLIT_INPUTS
        and bool(weight.uses())
        and all(
            use.idx == _WEIGHT and use.node.op_type == "Gemm" and transposes(use.node) and _plain(use.node)
            for use in weight.uses()
        )
    )


def split_inputs(graph: ir.Graph, weight: ir.Value) -> list[tuple[str, slice]]:
    """Multiply by a matrix [N, K] in blocks of its columns, one after the other, each adding to the last.

    ONNX Runtime adds in the same order inside one product: the sums are the same to the bit.

    Returns:
        Name of each new initializer, and which columns it holds. Their values are for the caller to set.
    """
    inputs = int(weight.shape[1])  # type: ignore[index,arg-type]
    ends = [*range(SPLIT_INPUTS, inputs, SPLIT_INPUTS), inputs]
    sizes = [end - start for start, end in pairwise([0, *ends])]
    parts = [ir.Value(name=f"{weight.name}:{index}") for index in range(len(sizes))]
    lengths = ir.Value(name=f"{weight.name}:inputs")
    lengths.const_value = ir.tensor(sizes, dtype=ir.DataType.INT64, name=lengths.name)
    for value in (*parts, lengths):
        graph.initializers.add(value)
    for use in tuple(weight.uses()):
        _split_product(graph, use.node, parts, lengths)
    graph.initializers.pop(str(weight.name))
    columns = [slice(end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]
    return [(str(part.name), kept) for part, kept in zip(parts, columns, strict=True)]


def _split_product(graph: ir.Graph, product: ir.Node, parts: list[ir.Value], lengths: ir.Value) -> None:
    rows = product.inputs[0]
    output = product.outputs[0]
    split = ir.node("Split", [rows, lengths], {"axis": 1}, num_outputs=len(parts))
    for index, piece in enumerate(split.outputs):
        piece.name = f"{output.name}:{index}:inputs"
    nodes = [split]
    sum_BN = product.inputs[_BIAS] if len(product.inputs) > _BIAS else None
    for index, part in enumerate(parts):
        operands = [split.outputs[index], part, *([] if sum_BN is None else [sum_BN])]
        step = ir.node("Gemm", operands, {_TRANSPOSED: 1})
        sum_BN = step.outputs[0]
        sum_BN.name = f"{output.name}:{index}"
        nodes.append(step)
    if sum_BN is None:
        raise GraphError(f"expected inputs to split in {product.op_type} {product.name!r}")
    graph.insert_before(product, nodes)
    name = output.name
    output.replace_all_uses_with(sum_BN, replace_graph_outputs=True)
    graph.remove(product, safe=True)
    sum_BN.name = name


def leave_out(graph: ir.Graph, parameters: AbstractSet[str]) -> None:
    """Take the residual branches out that these parameters belong to: `x + block(x)` becomes `x`.

    Raises:
        GraphError: One of them is no residual branch.
    """
    entered: dict[ir.Value, ir.Value] = {}
    """Value inside a branch → the value that the branch began with, and is added to in the end."""
    varying = set(graph.inputs)
    for node in tuple(graph):
        inputs = [value for value in node.inputs if value is not None]
        if varying.intersection(inputs):
            varying.update(node.outputs)
        inside = [value for value in inputs if value in entered]
        if not inside and not any(value.name in parameters for value in inputs if value.is_initializer()):
            continue
        outside = [value for value in inputs if value not in entered and value in varying]
        streams = {entered[value] for value in inside} | set(outside)
        if len(streams) != 1:
            raise _no_branch(node)
        (stream,) = streams
        if inside and outside and node.op_type == "Add":
            node.outputs[0].replace_all_uses_with(stream, replace_graph_outputs=True)
        else:
            entered.update((value, stream) for value in node.outputs)
    for value in graph.outputs:
        if value in entered:
            raise _no_branch(value.producer())
    _remove_unused(graph)


def _no_branch(node: ir.Node | None) -> GraphError:
    at = "" if node is None else f", got {node.op_type} {node.name!r}"
    return GraphError(
        f"expected a left-out block to be a residual branch, as in x + block(x){at}: "
        "keep all blocks in every tier, or add what a block gives to what it takes"
    )


def _remove_unused(graph: ir.Graph) -> None:
    for node in reversed(tuple(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(name)


def _is_transpose(node: ir.Node) -> bool:
    order = node.attributes.get("perm")
    return node.op_type == "Transpose" and (order is None or list(order.as_ints()) == [1, 0])


def _plain(node: ir.Node) -> bool:
    """Whether a `Gemm` scales nothing and transposes its second operand alone."""
    scales = [node.attributes.get(name) for name in ("alpha", "beta")]
    turned = node.attributes.get("transA")
    return all(scale is None or scale.as_float() == 1.0 for scale in scales) and (
        turned is None or turned.as_int() == 0
    )
