"""What an export refuses before it begins to work, and in words."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from elastier_contract.features import FeatureSchema, NumericColumn
from elastier_contract.signature import Signature, TensorSpec
from elastier_exporter.bundling import check_name
from elastier_exporter.errors import GraphError, NamingError
from elastier_exporter.export import ExportOptions, export_bundle
from elastier_exporter.torch_export import export_graph
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import NestedFeedForward


@pytest.mark.parametrize("name", ["a/b", "", "-x", "ä", "a" * 128])
def test_a_name_that_no_bundle_can_carry_is_shown_before_the_run_is_even_read(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(NamingError, match=r"expected a name of letters, .*: --name gives another") as refused:
        export_bundle(tmp_path / "no-run", tmp_path / "bundle", options=ExportOptions(name=name))
    assert f"got {name!r}" in str(refused.value)
    assert refused.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_whose_name_is_no_models_name_needs_another(tmp_path: Path) -> None:
    with pytest.raises(NamingError, match="got 'my run': --name gives another"):
        export_bundle(tmp_path / "my run", tmp_path / "bundle", options=ExportOptions())
    check_name("ctr", "1")


def test_a_version_that_no_bundle_can_carry_is_shown() -> None:
    with pytest.raises(NamingError, match=r"expected a version of letters, .* got '1 2': --version"):
        check_name("run", "1 2")


def test_a_model_that_torch_cannot_trace_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def branching(block: NestedFeedForward, x: Tensor, width: int) -> Tensor:
        return block.down_bias_D if x.sum() > 0 else x  # which way depends on the data

    monkeypatch.setattr(NestedFeedForward, "forward", branching)
    features = FeatureSchema(numeric=(NumericColumn(name="x", mean=0.0, std=1.0),))
    signature = Signature(
        inputs=features.tensor_specs(),
        outputs=(TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),),
    )
    torch.manual_seed(0)
    with pytest.raises(GraphError, match="expected a model that torch can export to ONNX, got: ") as refused:
        export_graph(Ranker(features, model_dim=8, hidden=(16,)), signature)
    assert "\n" not in str(refused.value)
