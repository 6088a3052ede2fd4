"""From the TA's graph to every tier's: blocks left out, and initializers that are parts of the TA's.

Parameters are found by the names that the model itself gives, never by guessing at the graph.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from elastier_contract.layout import Layout
from elastier_exporter.errors import GraphError
from elastier_exporter.surgery import (
    is_product,
    leave_out,
    multiply_untransposed,
    remove_transposes,
    split_inputs,
    splittable,
)
from elastier_trainer.submodel import NestedModel, ParameterSlice, Submodel

Slices = Mapping[str, ParameterSlice]
"""Parameter name in the TA's graph → what a tier uses in its place."""

SPLIT_OUTPUTS = 768
"""Narrower products lose more by being split than their packed weights take (DESIGN section 4)."""

_WEIGHT, _BIAS = 1, 2
"""Positions of a matrix product's operands."""
_ROWS, _COLUMNS = 0, 1
_ELEMENTWISE = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "PRelu",
    "LayerNormalization",
    "RMSNormalization",
    "BatchNormalization",
}
"""Operators that take what nests with the activation they are applied to."""
_REMEDY = (
    "keep nested weights as parameters that only F.linear, @, Gather, norms and elementwise operators use, "
    "or do without the axis that nests it"
)


class TierSlicer:
    """The TA's graph, and how each tier's follows from it.

    Args:
        ta: The TA's graph, from `export_graph`; it is changed.
        model: The nested model, in evaluation mode.
        tiers: All that will be asked for.
        layout: In layout D products with many inputs are split, so that packed weights are prefixes.

    Raises:
        GraphError: A nested parameter is missing in the graph, changed, or used in a way that cannot be sliced.
    """

    def __init__(self, ta: ir.Model, model: NestedModel, tiers: Sequence[Submodel], layout: Layout) -> None:
        self._ta, self._model, self._layout = ta, model, layout
        self._slices = {submodel: model.slices(submodel) for submodel in tiers}
        self._full = model.slices(model.full)
        self._nested = dict(_nested_axes(self._full, list(self._slices.values())))
        values = _values(model, model.full)
        for name in self._replaced():
            _check_present(ta, name, values[name])
        self._transposed = {name for name in self._nested if self._settle(name)}
        for name in self._nested:
            _check_uses(ta, name, self._nested)
        _clear_notes(ta)

    def slice(self, submodel: Submodel) -> ir.Model:
        """The graph of a tier, its weights in it."""
        model = self._ta.clone()
        graph = model.graph
        slices = self._slices[submodel]
        left_out = self._full.keys() - slices.keys()
        if left_out:
            leave_out(graph, left_out)
        for name, array in _values(self._model, submodel).items():
            weight = graph.initializers.get(name)
            if weight is None:
                continue  # what the forward pass does not use, torch leaves out
            kept = array.T if name in self._transposed else array
            weight.shape = ir.Shape(kept.shape)
            if self._splits(weight):
                for part, columns in split_inputs(graph, weight):
                    _set(graph.initializers[part], kept[:, columns])
            else:
                _set(weight, kept)
        return model

    def _replaced(self) -> Iterator[str]:
        """Parameters that a tier takes in part, or from elsewhere."""
        for name, part in self._full.items():
            if any(slices.get(name, part) != part for slices in self._slices.values()):
                yield name

    def _settle(self, name: str) -> bool:
        """Let a nested matrix lie in the graph so that fewer hidden units are a prefix; whether it is transposed."""
        weight = self._ta.graph.initializers[name]
        if len(weight.shape or ()) != 2:
            return False
        if remove_transposes(weight):
            return True
        return self._nested[name] == {_COLUMNS} and multiply_untransposed(weight)

    def _splits(self, weight: ir.Value) -> bool:
        shape = weight.shape
        return (
            self._layout == "d"
            and _ROWS in self._nested.get(str(weight.name), set())
            and shape is not None
            and int(shape[0]) >= SPLIT_OUTPUTS  # type: ignore[arg-type]
            and splittable(weight)
        )


def _nested_axes(full: Slices, tiers: Sequence[Slices]) -> Iterator[tuple[str, set[int]]]:
    """Parameter → axes along which some tier has less of it; only those that nest."""
    for name, part in full.items():
        axes = {
            axis
            for tier in tiers
            if name in tier
            for axis, (kept, all_) in enumerate(zip(tier[name].shape, part.shape, strict=True))
            if kept != all_
        }
        if axes:
            yield name, axes


def _values(model: NestedModel, submodel: Submodel) -> dict[str, NDArray[np.generic]]:
    """Parameters and buffers of a sub-model by itself, by their names in the TA."""
    extracted = model.extract(submodel)
    parameters, slices = list(extracted.named_parameters()), model.slices(submodel)
    if [tuple(tensor.shape) for _, tensor in parameters] != [part.shape for part in slices.values()]:
        raise GraphError(
            "expected the slices of a sub-model in the order and shapes of its extracted parameters, got "
            f"{[part.source for part in slices.values()]} for {[name for name, _ in parameters]}"
        )
    values = {name: tensor.detach().numpy() for name, (_, tensor) in zip(slices, parameters, strict=True)}
    return values | {name: buffer.numpy() for name, buffer in extracted.named_buffers()}


def _check_present(model: ir.Model, name: str, weight: NDArray[np.generic]) -> None:
    value = model.graph.initializers.get(name)
    if value is None or value.const_value is None:
        raise _fault(name, "is not an initializer of the TA's graph")
    found = value.const_value.numpy()
    if not np.array_equal(found, weight, equal_nan=True):
        raise _fault(name, f"was changed by the export, {list(weight.shape)} to {list(found.shape)}")
    if not value.uses():
        raise _fault(name, "is used by no node of the TA's graph")


def _check_uses(model: ir.Model, name: str, nested: Mapping[str, set[int]]) -> None:
    for use in model.graph.initializers[name].uses():
        node, position = use.node, use.idx
        if is_product(node) and position == _WEIGHT:
            continue
        if node.op_type == "Gemm" and position == _BIAS:
            weight = node.inputs[_WEIGHT]
            # A bias that shrinks while its weight does not would fail only when the tier first runs.
            if weight is not None and weight.is_initializer() and str(weight.name) not in nested:
                raise _fault(name, "is the bias of a Gemm whose weight does not nest with it")
            continue
        if node.domain == "" and node.op_type in _ELEMENTWISE:
            continue
        if node.op_type == "Gather" and position == 0 and _ROWS not in nested[name]:
            continue  # a table of shorter vectors
        raise _fault(
            name, f"is input {position} of {node.op_type}, expected an operand of a product, a norm or a sum"
        )


def _fault(name: str, fault: str) -> GraphError:
    return GraphError(f"nested parameter {name!r} {fault}: {_REMEDY}")


def _set(value: ir.Value, array: NDArray[np.generic]) -> None:
    value.const_value = ir.Tensor(np.ascontiguousarray(array), name=value.name)
    value.shape = ir.Shape(array.shape)
    value.dtype = value.const_value.dtype


def _clear_notes(model: ir.Model) -> None:
    """Drop what only tracing needed, and shapes between nodes, which tell the TA's hidden units."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if not value.is_graph_output():
                value.shape = None
