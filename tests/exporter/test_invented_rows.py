"""Parity asks more than data do: ids and numbers at the ends of what is valid, which no validation row has."""

from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from elastier_contract.bundle import open_bundle
from elastier_contract.errors import BundleNotFoundError
from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_contract.signature import Signature, TensorSpec
from elastier_exporter.errors import ParityError
from elastier_exporter.export import ExportOptions, export_bundle
from elastier_exporter.parity import check_parity, invented_rows
from elastier_exporter.profiling import Measuring
from elastier_exporter.session import open_session
from elastier_exporter.slicing import TierSlicer
from elastier_exporter.torch_export import export_graph
from elastier_trainer.models.ranker import Ranker
from support.bundles import spoiled_slice

LARGE = CategoricalColumn(name="city", values=tuple(f"c{index}" for index in range(50_000)))
SMALL = CategoricalColumn(name="day", values=("a", "b"))
DISTANCE = NumericColumn(name="distance", mean=1000.0, std=500.0)
LOGITS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),)


def signature_of(features: FeatureSchema) -> Signature:
    return Signature(inputs=features.tensor_specs(), outputs=LOGITS)


def test_corners_hold_only_the_first_and_last_ids_and_the_mean_and_far_from_it() -> None:
    features = FeatureSchema(categorical=(LARGE, SMALL), numeric=(DISTANCE,))
    _, corners = invented_rows(signature_of(features), features, 0)
    assert set(corners["categorical"][:, 0].tolist()) == {0, 50_000}
    assert set(corners["categorical"][:, 1].tolist()) == {0, 2}
    assert sorted(set(corners["numeric"].flatten().tolist())) == pytest.approx(
        [-499_999_000.0, 1000.0, 500_001_000.0]
    )
    assert (corners["categorical"].dtype, corners["numeric"].dtype) == (torch.int64, torch.float32)


@pytest.mark.parametrize(
    "features",
    [FeatureSchema(categorical=(SMALL,)), FeatureSchema(numeric=(DISTANCE,))],
    ids=["categories only", "numbers only"],
)
def test_rows_have_the_columns_of_the_schema_and_a_model_answers_them_by_numbers(
    features: FeatureSchema,
) -> None:
    model = Ranker(features, model_dim=8, hidden=(16,)).eval()
    names = {spec.name for spec in features.tensor_specs()}
    for rows in invented_rows(signature_of(features), features, 0):
        assert rows.keys() == names
        with torch.inference_mode():
            assert torch.isfinite(model(**rows)).all()


def test_a_difference_in_the_last_id_alone_is_found(tmp_path: Path) -> None:
    features = FeatureSchema(categorical=(LARGE,))
    torch.manual_seed(0)
    model, signature = Ranker(features, model_dim=8, hidden=(16,)).eval(), signature_of(features)
    ta = export_graph(model, signature)
    table = ta.graph.initializers["embedding.weight"]
    assert table.const_value is not None
    changed = table.const_value.numpy().copy()
    changed[-1, 0] += 1.0
    table.const_value = ir.tensor(changed, name=table.name)
    ir.save(ta, tmp_path / "ta.onnx")
    session = open_session(tmp_path, "ta.onnx", "a", 1)
    random, corners = invented_rows(signature, features, 0)
    assert check_parity("ta", session, model, model.full, random) < 1e-4
    with pytest.raises(ParityError, match=r"tier 'ta': expected logits within 0\.0001"):
        check_parity("ta", session, model, model.full, corners)


def test_a_difference_that_no_validation_row_shows_still_stops_an_export(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The unknown value, which training data do not have.
    monkeypatch.setattr(TierSlicer, "slice", spoiled_slice("embedding.weight", row=0))
    with pytest.raises(ParityError, match="tier 'w2'"):
        export_bundle(
            small_run, tmp_path / "bundle", options=ExportOptions(name="small", measuring=Measuring(runs=1))
        )
    with pytest.raises(BundleNotFoundError):
        open_bundle(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
