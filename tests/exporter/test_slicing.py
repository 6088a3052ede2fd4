"""What can be sliced from the TA's graph, along every axis, and what is refused with a remedy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_contract.layout import Layout
from elastier_contract.signature import Signature, TensorSpec
from elastier_exporter.errors import GraphError
from elastier_exporter.parity import arrays_of
from elastier_exporter.session import open_session, run_rows
from elastier_exporter.slicing import TierSlicer
from elastier_exporter.torch_export import export_graph
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nest import NestSpec, nest
from elastier_trainer.nesting import NestedFeedForward
from elastier_trainer.submodel import NestedModel, Submodel

NUMBERS = FeatureSchema(numeric=tuple(NumericColumn(name=name, mean=0.0, std=1.0) for name in ("x", "y")))
CATEGORIES = FeatureSchema(categorical=(CategoricalColumn(name="c", values=("a", "b")),))
LOGITS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),)


def ranker(
    features: FeatureSchema = NUMBERS, *, model_dim: int = 8, hidden: tuple[int, ...] = (16, 16)
) -> Ranker:
    torch.manual_seed(0)
    return Ranker(features, model_dim=model_dim, hidden=hidden).eval()


def signature_of(features: FeatureSchema) -> Signature:
    return Signature(inputs=features.tensor_specs(), outputs=LOGITS)


def narrow(model: Ranker) -> Submodel:
    """A tier of half the width."""
    full = model.full
    return Submodel(
        widths=tuple(width // 2 for width in full.widths), layers=full.layers, model_dim=full.model_dim
    )


def slicer(model: Ranker, *tiers: Submodel, layout: Layout = "a") -> TierSlicer:
    signature = signature_of(model.features)
    return TierSlicer(export_graph(model.extract(model.full), signature), model, tiers, layout)


def answers(folder: Path, graph: ir.Model, inputs: dict[str, Tensor]) -> NDArray[np.float32]:
    ir.save(graph, folder / "tier.onnx")
    return run_rows(open_session(folder, "tier.onnx", "a", 1), arrays_of(inputs))


def check_tier(
    folder: Path, model: NestedModel, made: TierSlicer, tier: Submodel, signature: Signature
) -> None:
    """A tier's graph answers as torch does."""
    sample = signature.sample_inputs(20, np.random.default_rng(0))
    inputs = {name: torch.from_numpy(array) for name, array in sample.items()}
    with torch.inference_mode():
        expected = model.logits(inputs, [tier])[0].numpy()
    np.testing.assert_allclose(answers(folder, made.slice(tier), inputs), expected, atol=1e-5)


@pytest.mark.parametrize("features", [NUMBERS, CATEGORIES], ids=["numbers only", "categories only"])
def test_an_untrained_model_keeps_all_its_parameters_by_name(features: FeatureSchema, tmp_path: Path) -> None:
    model = ranker(features)
    # Fresh biases are all zero and fresh norms all one: an optimizer would have merged or dropped them.
    made = slicer(model, narrow(model))
    assert set(dict(model.named_parameters())) <= set(made.slice(narrow(model)).graph.initializers)
    check_tier(tmp_path, model, made, narrow(model), signature_of(features))


@pytest.mark.parametrize(
    ("widths", "layers", "model_dim"),
    [
        ((4, 2, 16), (0, 1, 2), 8),
        ((16,), (0,), 8),
        ((8,), (2,), 8),
        ((16, 4), (0, 2), 8),
        ((16, 16, 16), (0, 1, 2), 4),
        ((4,), (1,), 6),
    ],
)
def test_every_axis_is_sliced_from_one_graph(
    widths: tuple[int, ...], layers: tuple[int, ...], model_dim: int, tmp_path: Path
) -> None:
    model = ranker(hidden=(16, 16, 16))
    tier = Submodel(widths=widths, layers=layers, model_dim=model_dim)
    made = slicer(model, tier, model.full)
    check_tier(tmp_path, model, made, tier, signature_of(NUMBERS))
    check_tier(tmp_path, model, made, model.full, signature_of(NUMBERS))
    blocks = {
        name.split(".")[1] for name in made.slice(tier).graph.initializers if name.startswith("blocks.")
    }
    assert blocks == {str(layer) for layer in layers}


@pytest.mark.parametrize("model_dim", [512, 300])
def test_wide_products_of_many_inputs_are_split_and_narrow_ones_are_not(
    model_dim: int, tmp_path: Path
) -> None:
    model = ranker(model_dim=model_dim, hidden=(1024,))
    wide, thin = (Submodel(widths=(width,), layers=(0,), model_dim=model_dim) for width in (768, 64))
    made = slicer(model, wide, thin, layout="d")
    parts = {name for name in made.slice(wide).graph.initializers if name.startswith("blocks.0.up_HD:")}
    assert parts == {f"blocks.0.up_HD:{part}" for part in ("0", "1", "inputs")}
    assert "blocks.0.up_HD" in made.slice(thin).graph.initializers
    for tier in (wide, thin):
        check_tier(tmp_path, model, made, tier, signature_of(NUMBERS))
    assert "blocks.0.up_HD" in slicer(model, wide).slice(wide).graph.initializers


class Residual(nn.Module):
    """An ordinary block: `x + down(relu(up(x)))`."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.down(F.relu(self.up(x)))
        return out


class Plain(nn.Module):
    """Three ordinary blocks behind each other."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Residual(), Residual(), Residual())
        self.head = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(x))
        return logits


def test_an_ordinary_network_is_sliced_too_its_second_layers_along_their_columns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nest(Plain().eval(), NestSpec(pairs=[("blocks.*.up", "blocks.*.down")], depth="blocks"))
    signature = Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 6)),), outputs=LOGITS)
    tiers = [model.uniform(4), model.uniform(8, layers=(0, 2)), model.full]
    made = TierSlicer(export_graph(model.extract(model.full), signature), model, tiers, "a")
    for tier in tiers:
        check_tier(tmp_path, model, made, tier, signature)
    wide, thin = (
        made.slice(tier).graph.initializers["blocks.0.down.weight"] for tier in (model.full, tiers[0])
    )
    assert wide.const_value is not None
    assert thin.const_value is not None
    # Hidden-major, so that a prefix of hidden units is a prefix of the bytes.
    assert wide.const_value.tobytes().startswith(thin.const_value.tobytes())


def transposed(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(x @ block.up_HD.t() + block.up_bias_H) @ block.down_HD


def added_apart(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(F.linear(x, block.up_HD) + block.up_bias_H) @ block.down_HD


def scaled(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(F.linear(x, block.up_HD.sigmoid(), block.up_bias_H)) @ block.down_HD


def without_bias(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return F.gelu(F.linear(x, block.up_HD)) @ block.down_HD


def sliced(block: NestedFeedForward, x: Tensor, _width: int) -> Tensor:
    return NestedFeedForward.forward(block, x, 8)


Forward = Callable[[NestedFeedForward, Tensor, int], Tensor]


def one_block(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> tuple[Ranker, ir.Model]:
    """A ranker whose block computes like this, and its graph."""
    model = ranker(hidden=(16,))
    block = model.blocks[0]
    assert isinstance(block, NestedFeedForward)
    monkeypatch.setattr(block, "forward", partial(forward, block))
    return model, export_graph(model, signature_of(NUMBERS))


@pytest.mark.parametrize("forward", [transposed, added_apart])
def test_other_ways_to_multiply_and_to_add_a_bias_are_sliced(
    forward: Forward, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, graph = one_block(forward, monkeypatch)
    made = TierSlicer(graph, model, [narrow(model)], "a")
    monkeypatch.undo()
    check_tier(tmp_path, model, made, narrow(model), signature_of(NUMBERS))


@pytest.mark.parametrize(
    ("forward", "fault"),
    [
        (scaled, r"up_HD' is input 0 of Sigmoid"),
        (without_bias, r"up_bias_H' is not an initializer"),
        (sliced, r"up_HD' is input 0 of Slice"),
    ],
)
def test_a_model_that_computes_on_its_nested_weights_is_refused_with_a_remedy(
    forward: Forward, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, graph = one_block(forward, monkeypatch)
    with pytest.raises(GraphError, match=rf"'blocks\.0\.{fault}.*: keep nested weights as parameters"):
        TierSlicer(graph, model, [narrow(model)], "a")


def test_a_parameter_that_the_export_changed_or_left_unused_is_refused() -> None:
    model = ranker()
    graph = export_graph(model, signature_of(NUMBERS))
    weight = graph.graph.initializers["blocks.1.down_HD"]
    assert weight.const_value is not None
    right, turned = weight.const_value, np.ascontiguousarray(weight.const_value.numpy().T)
    weight.const_value = ir.tensor(turned, name=weight.name)
    with pytest.raises(
        GraphError, match=r"'blocks\.1\.down_HD' was changed by the export, \[16, 8\] to \[8, 16\]"
    ):
        TierSlicer(graph, model, [narrow(model)], "a")
    weight.const_value = right
    unused = graph.graph.initializers["blocks.1.up_HD"]
    for use in tuple(unused.uses()):
        use.node.replace_input_with(use.idx, graph.graph.initializers["blocks.0.up_HD"])
    with pytest.raises(GraphError, match=r"'blocks\.1\.up_HD' is used by no node"):
        TierSlicer(graph, model, [narrow(model)], "a")


def test_a_block_that_is_not_added_to_its_input_cannot_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ranker()
    monkeypatch.setattr(
        model, "rank", lambda x_BD, full: model.heads[0](model.blocks[1](model.blocks[0](x_BD, 16), 16))
    )
    graph = export_graph(model, signature_of(NUMBERS))
    monkeypatch.undo()
    shallow = Submodel(widths=(16,), layers=(1,), model_dim=8)
    made = TierSlicer(graph, model, [shallow], "a")
    with pytest.raises(
        GraphError, match=r"expected a left-out block to be a residual branch.*keep all blocks"
    ):
        made.slice(shallow)
