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
from elastier_exporter.profiling import Measuring
from elastier_exporter.slicing import TierSlicer
from elastier_server.engine.ort import open_engine
from elastier_trainer.config_file import load_config
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import CheckpointError, DataError
from elastier_trainer.evaluate import evaluate_ladder
from elastier_trainer.frontier.tiers_file import write_tiers
from elastier_trainer.run import run_training
from elastier_trainer.submodel import Ladder, Submodel
from elastier_trainer.trained import load_trained
from support.bundles import spoiled_slice
from support.small_run import SMALL_LADDER, write_small_run

ONCE = Measuring(runs=1)
QUICK = ExportOptions(name="small", version="7", measuring=ONCE, command="elastier export run")


@pytest.fixture(scope="module")
def bundle(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(small_run, tmp_path_factory.mktemp("export") / "bundle", options=QUICK)


def test_the_bundle_says_what_its_tiers_are_and_where_they_come_from(bundle: Bundle, small_run: Path) -> None:
    manifest, trained = bundle.manifest, load_trained(small_run)
    assert (manifest.name, manifest.version, manifest.layout) == ("small", "7", "d")
    assert [tier.name for tier in manifest.tiers] == ["w2", "w4", "w8", "w16"]
    assert [tier.widths for tier in manifest.tiers] == [(width, width) for width in SMALL_LADDER]
    ta = trained.model.extract(trained.model.full)
    assert manifest.tiers[-1].parameters == sum(p.numel() for p in ta.parameters())
    assert manifest.tiers[-1].model_dim == 8
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
    with torch.inference_mode():
        expected = trained.model.logits(tensors, trained.ladder.submodels)
    for logits_RC, answer in zip(expected, answers, strict=True):
        np.testing.assert_allclose(answer, logits_RC.numpy(), atol=1e-5)
    assert not np.allclose(answers[0], answers[3], atol=1e-3)


def test_quality_is_the_runs_own_on_validation_rows(bundle: Bundle, small_run: Path) -> None:
    trained = load_trained(small_run)
    dataset = load_dataset(trained.data, trained.schema)
    submodels = trained.ladder.submodels
    expected = evaluate_ladder(trained.model, dataset, "validation", submodels, trained.task)
    for tier, auc in zip(bundle.manifest.tiers, expected, strict=True):
        quality = tier.quality
        assert (quality.value, quality.low, quality.high) == pytest.approx(
            (auc.value, auc.low, auc.high), abs=1e-4
        )
        assert (quality.metric, quality.split, quality.rows) == ("auc", "validation", 100)


def test_every_weight_lies_once_in_the_file_and_narrow_tiers_use_its_beginning(
    bundle: Bundle, small_run: Path
) -> None:
    places = {
        tier.name: {
            tensor.name: {entry.key: entry.value for entry in tensor.external_data}
            for tensor in onnx.load(bundle.graph_path(tier), load_external_data=False).graph.initializer
            if tensor.external_data
        }
        for tier in bundle.manifest.tiers
    }
    for name in ("up_HD", "down_HD"):
        wide, narrow = (places[tier][f"blocks.1.{name}"] for tier in ("w16", "w8"))
        assert (narrow["location"], narrow["offset"]) == ("weights.bin", wide["offset"])
        assert int(narrow["length"]) * 2 == int(wide["length"])
    raw = {weight.name: weight for weight in bundle.manifest.weights if weight.kind == "raw"}
    assert raw["blocks.1.up_HD"].tiers == (
        "w16",
        "w8",
    )  # of the others it is so short that it lies in the graph
    assert raw["embedding.weight"].tiers == ("w16", "w8", "w4", "w2")
    trained = load_trained(small_run)
    numbers = sum(parameter.numel() for parameter in trained.model.parameters())
    assert sum(weight.bytes for weight in raw.values()) <= 4 * numbers
    last = max(bundle.manifest.weights, key=lambda weight: weight.offset)
    assert last.offset + last.bytes == bundle.weights_path.stat().st_size
    assert all(bundle.graph_path(tier).stat().st_size < 65536 for tier in bundle.manifest.tiers)


def test_chosen_students_keep_the_ta_and_an_untrained_one_is_refused(small_run: Path, tmp_path: Path) -> None:
    options = ExportOptions(students=("w4",), measuring=ONCE)
    bundle = export_bundle(small_run, tmp_path / "bundle", options=options)
    assert [tier.name for tier in bundle.manifest.tiers] == ["w4", "w16"]
    assert bundle.manifest.name == "run"
    with pytest.raises(TierError, match=r"got \['w3'\]"):
        export_bundle(small_run, tmp_path / "bundle", options=ExportOptions(students=("w3", "w4")))


def test_a_tier_that_differs_is_named_and_nothing_is_written(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    old = export_bundle(small_run, out, options=QUICK)

    # A hidden unit that w2 and w4 do not have.
    monkeypatch.setattr(TierSlicer, "slice", spoiled_slice("blocks.1.up_HD", row=6))
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


def test_students_along_every_axis_are_served_with_torchs_answers(tmp_path: Path) -> None:
    ladder = [
        {"width": 4, "layers": 1},
        {"width": 8, "layers": 2, "spacing": "even"},
        {"width": 16, "model_dim": 4},
        {"width": [4, 16, 8]},
        16,
    ]
    config = write_small_run(
        tmp_path, ladder=ladder, middle="per_block", model={"model_dim": 8, "hidden": 16, "blocks": 3}
    )
    run_training(load_config(config), tmp_path / "run")
    bundle = export_bundle(tmp_path / "run", tmp_path / "bundle", options=QUICK)
    trained = load_trained(tmp_path / "run")
    inputs = bundle.manifest.signature.sample_inputs(50, np.random.default_rng(5))
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    engine = open_engine(bundle, threads=1)
    assert {tier.name for tier in bundle.manifest.tiers} == set(trained.ladder.names)
    for index, tier in enumerate(bundle.manifest.tiers):
        student = trained.ladder.students[tier.name]
        assert (tier.widths, tier.layers, tier.model_dim) == (
            student.widths,
            student.layers,
            student.model_dim,
        )
        with torch.inference_mode():
            expected = trained.model.logits(tensors, [student])[0].numpy()
        np.testing.assert_allclose(engine.run(index, inputs)["logits"], expected, atol=1e-5)
    # Only the smaller model dimension needs weights of its own: width and depth are prefixes of the TA's.
    own = {
        weight.name
        for weight in bundle.manifest.weights
        if weight.kind == "raw" and weight.tiers == ("w16-d4",)
    }
    # The middle block is as wide in every tier: there a smaller dimension is a prefix too.
    assert own == {f"blocks.{block}.down_HD" for block in range(3)} | {"blocks.0.up_HD", "blocks.2.up_HD"}


def test_a_tier_file_replaces_the_ladder(small_run: Path, tmp_path: Path) -> None:
    full = load_trained(small_run).model.full
    mix = Submodel(widths=(2, 8), layers=(0, 1), model_dim=8)
    write_tiers(tmp_path / "tiers.yaml", Ladder(students={"mix": mix, "ta": full}))
    options = ExportOptions(name="mixed", tiers=tmp_path / "tiers.yaml", measuring=ONCE)
    bundle = export_bundle(small_run, tmp_path / "bundle", options=options)
    assert [(tier.name, tier.widths) for tier in bundle.manifest.tiers] == [("mix", (2, 8)), ("ta", (16, 16))]
