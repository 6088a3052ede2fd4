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
from elastier_exporter.slicing import Slices, check_sliceable, point_at_weights, shares_graph
from elastier_exporter.torch_export import export_graph
from elastier_exporter.weights import Range, weights_file
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import NestedFeedForward
from elastier_trainer.submodel import ParameterSlice, Submodel

NUMBERS = tuple(NumericColumn(name=name, mean=0.0, std=1.0) for name in ("x", "y"))
LOGITS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),)


def exported(features: FeatureSchema) -> tuple[Ranker, ir.Model]:
    torch.manual_seed(0)
    model = Ranker(features, model_dim=8, hidden=(16, 16)).eval()
    return model, export_graph(model, Signature(inputs=features.tensor_specs(), outputs=LOGITS))


def weights_of(model: Ranker) -> dict[str, NDArray[np.float32]]:
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


def narrow(model: Ranker) -> Slices:
    """What a tier of half the width uses."""
    full = model.full
    widths = tuple(width // 2 for width in full.widths)
    return model.slices(Submodel(widths=widths, layers=full.layers, model_dim=full.model_dim))


def check(model: Ranker, graph: ir.Model, tier: Slices, weights: dict[str, NDArray[np.float32]]) -> None:
    check_sliceable(graph, model.slices(model.full), [tier], weights)


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
    check(model, graph, narrow(model), weights_of(model))


def test_a_missing_and_a_computed_on_parameter_are_named() -> None:
    model, graph = exported(FeatureSchema(numeric=NUMBERS))
    tier, weights = dict(narrow(model)), weights_of(model)
    shorter = ParameterSlice(source="final_norms.0.weight", shape=(4,))
    with pytest.raises(GraphError, match=r"'final_norms\.0\.weight' is input 1 of LayerNormalization"):
        check(model, graph, tier | {"final_norms.0.weight": shorter}, weights)
    del graph.graph.initializers["blocks.0.up_HD"]
    with pytest.raises(GraphError, match=r"'blocks\.0\.up_HD' is not an initializer .* hidden-major"):
        check(model, graph, tier, weights)


def test_a_tier_shares_the_graph_if_all_blocks_are_kept_and_only_first_axes_are_shorter() -> None:
    model, _ = exported(FeatureSchema(numeric=NUMBERS))
    ta = model.slices(model.full)
    shallow = Submodel(widths=(16,), layers=(0,), model_dim=8)
    thin = Submodel(widths=(16, 16), layers=(0, 1), model_dim=4)
    assert shares_graph(narrow(model), ta)
    assert not shares_graph(model.slices(shallow), ta)
    assert not shares_graph(model.slices(thin), ta)


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
    graph = export_graph(model, Signature(inputs=features.tensor_specs(), outputs=LOGITS))
    with pytest.raises(GraphError, match=rf"'blocks\.0\.{fault}.*: keep nested weights hidden-major"):
        check(model, graph, narrow(model), weights_of(model))


def test_a_parameter_that_the_export_changed_or_left_unused_is_refused() -> None:
    model, graph = exported(FeatureSchema(numeric=NUMBERS))
    tier, weights = narrow(model), weights_of(model)
    turned = weights | {"blocks.1.down_HD": np.ascontiguousarray(weights["blocks.1.down_HD"].T)}
    with pytest.raises(
        GraphError, match=r"'blocks\.1\.down_HD' was changed by the export, \[8, 16\] to \[16, 8\]"
    ):
        check(model, graph, tier, turned)
    unused = graph.graph.initializers["blocks.1.up_HD"]
    for use in tuple(unused.uses()):
        use.node.replace_input_with(use.idx, graph.graph.initializers["blocks.0.up_HD"])
    with pytest.raises(GraphError, match=r"'blocks\.1\.up_HD' is used by no node"):
        check(model, graph, tier, weights)


def test_a_nested_bias_of_a_weight_that_does_not_nest_with_it_is_refused() -> None:
    model, graph = exported(FeatureSchema(numeric=NUMBERS))
    whole = model.slices(model.full)["blocks.0.up_HD"]
    with pytest.raises(GraphError, match=r"is the bias of a Gemm whose weight does not nest with it"):
        check(model, graph, dict(narrow(model)) | {"blocks.0.up_HD": whole}, weights_of(model))


def test_weights_that_are_not_32_bit_floats_are_refused(tmp_path: Path) -> None:
    with (
        weights_file(tmp_path) as file,
        pytest.raises(GraphError, match="'w': expected float32, got float16"),
    ):
        file.append("w", np.zeros((4, 2), np.float16))


def test_a_parameter_that_the_graph_does_not_have_is_named() -> None:
    _, graph = exported(FeatureSchema(numeric=NUMBERS))
    with pytest.raises(GraphError, match="parameter 'extra' is not an initializer"):
        point_at_weights(graph, {"extra": Range(offset=0, shape=(1,)).tensor("extra", (1,))})


def test_a_prefix_is_the_same_offset_and_a_shorter_length() -> None:
    place = Range(offset=8192, shape=(16, 8))
    tensor = place.tensor("w", (4, 8))
    assert (tensor.offset, tensor.length, tuple(tensor.shape)) == (8192, 4 * 8 * 4, (4, 8))
    for shape in ((4, 6), (17, 8)):
        with pytest.raises(GraphError, match=r"expected a prefix along the first axis of \[16, 8\]"):
            place.tensor("w", shape)
