"""What can be sliced, and what is refused with a remedy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_contract.signature import Signature, TensorSpec
from elastier_exporter.errors import GraphError
from elastier_exporter.slicing import check_sliceable, point_at_weights
from elastier_exporter.torch_export import export_ta
from elastier_exporter.weights import Range, write_weights
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import NestedFeedForward, NestedParameter

NUMBERS = tuple(NumericColumn(name=name, mean=0.0, std=1.0) for name in ("x", "y"))
LOGITS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),)


def exported(features: FeatureSchema) -> tuple[Ranker, ir.Model]:
    torch.manual_seed(0)
    model = Ranker(features, model_dim=8, hidden=(16, 16)).eval()
    return model, export_ta(model, Signature(inputs=features.tensor_specs(), outputs=LOGITS))


def weights_of(model: Ranker) -> dict[str, NDArray[np.float32]]:
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    "features",
    [
        FeatureSchema(numeric=NUMBERS),
        FeatureSchema(categorical=(CategoricalColumn(name="c", values=("a", "b")),)),
    ],
    ids=["numbers only", "categories only"],
)
def test_an_untrained_model_keeps_all_its_parameters_by_name(features: FeatureSchema) -> None:
    model, graph = exported(features)
    # Fresh biases are all zero and fresh norms all one: an optimizer would have merged or dropped them.
    assert set(dict(model.named_parameters())) <= set(graph.graph.initializers)
    check_sliceable(graph, model.nested_parameters(), weights_of(model))


def test_a_missing_a_sideways_and_a_computed_on_parameter_are_named() -> None:
    model, graph = exported(FeatureSchema(numeric=NUMBERS))
    weights = weights_of(model)
    with pytest.raises(GraphError, match=r"'blocks\.9\.up_HD' is not an initializer .* hidden-major"):
        check_sliceable(graph, {"blocks.9.up_HD": NestedParameter(block=9, axis=0)}, weights)
    with pytest.raises(GraphError, match=r"'blocks\.0\.up_HD' nests along axis 1, expected 0"):
        check_sliceable(graph, {"blocks.0.up_HD": NestedParameter(block=0, axis=1)}, weights)
    with pytest.raises(GraphError, match=r"'final_norm\.weight' is input 1 of LayerNormalization"):
        check_sliceable(graph, {"final_norm.weight": NestedParameter(block=0, axis=0)}, weights)


def transposed(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(x @ block.up_HD.t() + block.up_bias_H) @ block.down_HD


def scaled(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(F.linear(x, block.up_HD * 2, block.up_bias_H)) @ block.down_HD


def added_apart(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(F.linear(x, block.up_HD) + block.up_bias_H) @ block.down_HD


def without_bias(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(F.linear(x, block.up_HD)) @ block.down_HD


def sliced(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return NestedFeedForward.forward(block, x, 8)


@pytest.mark.parametrize(
    ("forward", "fault"),
    [
        (transposed, r"up_HD' is input 0 of Transpose"),
        (scaled, r"up_HD' is input 0 of Mul"),
        (added_apart, r"up_bias_H' is input 1 of Add"),
        (without_bias, r"up_bias_H' is not an initializer"),
        (sliced, r"up_HD' is input 0 of Slice"),
    ],
)
def test_a_model_that_computes_on_its_nested_weights_is_refused_with_a_remedy(
    forward: Callable[[NestedFeedForward, Tensor, int], Tensor], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = FeatureSchema(numeric=NUMBERS)
    model = Ranker(features, model_dim=8, hidden=(16,)).eval()
    block = model.blocks[0]
    assert isinstance(block, NestedFeedForward)
    monkeypatch.setattr(block, "forward", partial(forward, block))
    graph = export_ta(model, Signature(inputs=features.tensor_specs(), outputs=LOGITS))
    with pytest.raises(GraphError, match=rf"'blocks\.0\.{fault}.*: keep nested weights hidden-major"):
        check_sliceable(graph, model.nested_parameters(), weights_of(model))


def test_a_parameter_that_the_export_changed_or_left_unused_is_refused() -> None:
    model, graph = exported(FeatureSchema(numeric=NUMBERS))
    nested, weights = model.nested_parameters(), weights_of(model)
    turned = weights | {"blocks.1.down_HD": np.ascontiguousarray(weights["blocks.1.down_HD"].T)}
    with pytest.raises(
        GraphError, match=r"'blocks\.1\.down_HD' was changed by the export, \[8, 16\] to \[16, 8\]"
    ):
        check_sliceable(graph, nested, turned)
    unused = graph.graph.initializers["blocks.1.up_HD"]
    for use in tuple(unused.uses()):
        use.node.replace_input_with(use.idx, graph.graph.initializers["blocks.0.up_HD"])
    with pytest.raises(GraphError, match=r"'blocks\.1\.up_HD' is used by no node"):
        check_sliceable(graph, nested, weights)


def test_a_nested_bias_of_a_weight_that_does_not_nest_with_it_is_refused() -> None:
    model, graph = exported(FeatureSchema(numeric=NUMBERS))
    alone = {"blocks.0.up_bias_H": NestedParameter(block=0, axis=0)}
    with pytest.raises(GraphError, match=r"is the bias of a Gemm whose weight does not nest in block 0"):
        check_sliceable(graph, alone, weights_of(model))


def test_weights_that_are_not_32_bit_floats_are_refused(tmp_path: Path) -> None:
    halves = {"w": np.zeros((4, 2), np.float16)}
    with pytest.raises(GraphError, match="'w': expected float32, got float16"):
        write_weights(tmp_path, halves)  # type: ignore[arg-type]


def test_a_parameter_that_the_graph_does_not_have_is_named() -> None:
    _, graph = exported(FeatureSchema(numeric=NUMBERS))
    with pytest.raises(GraphError, match="parameter 'extra' is not an initializer"):
        point_at_weights(graph, {"extra": Range(offset=0, shape=(1,))})


def test_a_prefix_is_the_same_offset_and_a_shorter_length() -> None:
    tensor = Range(offset=8192, shape=(16, 8)).tensor("w", kept=4)
    assert (tensor.offset, tensor.length, tuple(tensor.shape)) == (8192, 4 * 8 * 4, (4, 8))
