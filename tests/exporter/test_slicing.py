"""What can be sliced, and what is refused with a remedy."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_contract.signature import Signature, TensorSpec
from elastier_exporter.errors import GraphError
from elastier_exporter.slicing import check_sliceable, point_at_weights
from elastier_exporter.torch_export import export_ta
from elastier_exporter.weights import Range
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import NestedParameter

NUMBERS = tuple(NumericColumn(name=name, mean=0.0, std=1.0) for name in ("x", "y"))
LOGITS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),)


def exported(features: FeatureSchema) -> tuple[Ranker, ir.Model]:
    torch.manual_seed(0)
    model = Ranker(features, model_dim=8, hidden=(16, 16)).eval()
    return model, export_ta(model, Signature(inputs=features.tensor_specs(), outputs=LOGITS))


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
    check_sliceable(graph, model.nested_parameters())


def test_a_missing_a_sideways_and_a_computed_on_parameter_are_named() -> None:
    _, graph = exported(FeatureSchema(numeric=NUMBERS))
    with pytest.raises(GraphError, match=r"'blocks\.9\.up_HD' is not an initializer .* hidden-major"):
        check_sliceable(graph, {"blocks.9.up_HD": NestedParameter(block=9, axis=0)})
    with pytest.raises(GraphError, match=r"'blocks\.0\.up_HD' nests along axis 1, expected 0"):
        check_sliceable(graph, {"blocks.0.up_HD": NestedParameter(block=0, axis=1)})
    with pytest.raises(GraphError, match=r"'final_norm\.weight' is input 1 of LayerNormalization"):
        check_sliceable(graph, {"final_norm.weight": NestedParameter(block=0, axis=0)})


def test_a_parameter_that_the_graph_does_not_have_is_named() -> None:
    _, graph = exported(FeatureSchema(numeric=NUMBERS))
    with pytest.raises(GraphError, match="parameter 'extra' is not an initializer"):
        point_at_weights(graph, {"extra": Range(offset=0, shape=(1,))})


def test_a_prefix_is_the_same_offset_and_a_shorter_length() -> None:
    tensor = Range(offset=8192, shape=(16, 8)).tensor("w", kept=4)
    assert (tensor.offset, tensor.length, tuple(tensor.shape)) == (8192, 4 * 8 * 4, (4, 8))
    assert np.dtype(np.float32).itemsize == 4
