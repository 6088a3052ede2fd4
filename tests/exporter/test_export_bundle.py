"""From a trained run to a bundle: what it holds, what its tiers answer, and what is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from elastier_contract.bundle import Bundle, open_bundle
from elastier_contract.errors import BundleError
from elastier_exporter.errors import ParityError, TierError
from elastier_exporter.export import ExportOptions, export_bundle
from elastier_exporter.weights import Range, write_weights
from elastier_server.engine.ort import open_engine
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import CheckpointError, DataError
from elastier_trainer.evaluate import evaluate_widths
from elastier_trainer.trained import load_trained
from support.small_run import SMALL_LADDER

QUICK = ExportOptions(name="small", version="7", runs=2, command="elastier export run")


@pytest.fixture(scope="module")
def bundle(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(small_run, tmp_path_factory.mktemp("export") / "bundle", options=QUICK)


def test_the_bundle_says_what_its_tiers_are_and_where_they_come_from(bundle: Bundle, small_run: Path) -> None:
    manifest, trained = bundle.manifest, load_trained(small_run)
    assert (manifest.name, manifest.version, manifest.layout) == ("small", "7", "a")
    assert [tier.name for tier in manifest.tiers] == ["w2", "w4", "w8", "w16"]
    assert [tier.widths for tier in manifest.tiers] == [(width, width) for width in SMALL_LADDER]
    assert manifest.tiers[-1].parameters == sum(p.numel() for p in trained.model.parameters())
    assert manifest.features == trained.model.features
    assert manifest.provenance.command == "elastier train --config config.yaml && elastier export run"
    assert manifest.provenance.data_sha256 == trained.data_sha256
    assert {"torch", "onnx", "onnxruntime", "elastier"} <= manifest.provenance.versions.keys()


def test_every_tier_is_served_with_torchs_answers(bundle: Bundle, small_run: Path) -> None:
    trained = load_trained(small_run)
    inputs = bundle.manifest.signature.sample_inputs(300, np.random.default_rng(5))
    engine = open_engine(bundle, threads=1)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    answers = [engine.run(tier, inputs)["logits"] for tier in range(4)]
    for widths, answer in zip(trained.ladder, answers, strict=True):
        with torch.inference_mode():
            np.testing.assert_allclose(answer, trained.model(tensors, widths).numpy(), atol=1e-5)
    assert not np.allclose(answers[0], answers[3], atol=1e-3)


def test_quality_is_the_runs_own_on_validation_rows(bundle: Bundle, small_run: Path) -> None:
    trained = load_trained(small_run)
    dataset = load_dataset(trained.data, trained.schema)
    expected = evaluate_widths(trained.model, dataset, "validation", trained.ladder)
    for tier, auc in zip(bundle.manifest.tiers, expected, strict=True):
        quality = tier.quality
        assert (quality.value, quality.low, quality.high) == pytest.approx(
            (auc.value, auc.low, auc.high), abs=1e-4
        )
        assert (quality.metric, quality.split, quality.rows) == ("auc", "validation", 100)


def test_every_weight_lies_once_in_the_file_and_tiers_share_its_beginning(bundle: Bundle) -> None:
    graphs = {
        tier.name: onnx.load(bundle.graph_path(tier), load_external_data=False)
        for tier in bundle.manifest.tiers
    }
    places = {
        name: {
            tensor.name: {entry.key: entry.value for entry in tensor.external_data}
            | {"dims": list(tensor.dims)}
            for tensor in graph.graph.initializer
            if tensor.external_data
        }
        for name, graph in graphs.items()
    }
    for weight, place in places["w16"].items():
        assert int(place["offset"]) % 4096 == 0
        for width in (2, 4, 8):
            narrow = places[f"w{width}"][weight]
            assert (narrow["location"], narrow["offset"]) == ("weights.bin", place["offset"])
            nested = weight.startswith("blocks.") and weight.rpartition(".")[2] in {
                "up_HD",
                "up_bias_H",
                "down_HD",
            }
            assert narrow["dims"] == ([width, *place["dims"][1:]] if nested else place["dims"])
    raw = sum(4 * int(np.prod(place["dims"])) for place in places["w16"].values())
    assert raw <= bundle.weights_path.stat().st_size <= raw + 4096 * len(places["w16"])
    assert all(bundle.graph_path(tier).stat().st_size < 65536 for tier in bundle.manifest.tiers)


def test_a_chosen_ladder_keeps_the_ta_and_an_untrained_width_is_refused(
    small_run: Path, tmp_path: Path
) -> None:
    options = ExportOptions(widths=(4,), runs=1)
    bundle = export_bundle(small_run, tmp_path / "bundle", options=options)
    assert [tier.name for tier in bundle.manifest.tiers] == ["w4", "w16"]
    assert bundle.manifest.name == "run"
    with pytest.raises(TierError, match=r"of \[2, 4, 8, 16\], got \[3\]"):
        export_bundle(small_run, tmp_path / "bundle", options=ExportOptions(widths=(3, 4)))


def test_a_tier_that_differs_is_named_and_nothing_is_written(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    old = export_bundle(small_run, out, options=QUICK)

    def spoiled(folder: Path, weights: dict[str, np.ndarray]) -> dict[str, Range]:
        changed = {name: array.copy() for name, array in weights.items()}
        changed["blocks.1.up_HD"][6, 0] += 1.0  # a hidden unit that w2 and w4 do not have
        return write_weights(folder, changed)

    monkeypatch.setattr("elastier_exporter.export.write_weights", spoiled)
    with pytest.raises(ParityError, match=r"tier 'w8': expected logits within 0\.0001"):
        export_bundle(small_run, out, options=QUICK)
    assert open_bundle(out).manifest == old.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_no_run_other_data_and_a_foreign_folder_are_refused(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a finished training run"):
        export_bundle(tmp_path, tmp_path / "bundle", options=QUICK)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "file").write_text("mine")
    with pytest.raises(BundleError, match="not overwritten"):
        export_bundle(small_run, foreign, options=QUICK)
    assert (foreign / "file").read_text() == "mine"


def test_data_that_changed_since_training_are_refused(small_run: Path, tmp_path: Path) -> None:
    record_path = small_run / "model/model.json"
    original = record_path.read_text()
    try:
        record_path.write_text(json.dumps(json.loads(original) | {"data_sha256": "0" * 64}))
        with pytest.raises(DataError, match="expected the data of the run, with digest 000000000000"):
            export_bundle(small_run, tmp_path / "bundle", options=QUICK)
    finally:
        record_path.write_text(original)
    assert list(tmp_path.iterdir()) == []
