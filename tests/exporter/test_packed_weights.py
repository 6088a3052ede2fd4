"""Layout D for real: shared packed weights, the same answers to the bit, and what happens where they do not fit."""

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from elastier_contract.bundle import Bundle, open_bundle
from elastier_contract.errors import BundleCorruptError
from elastier_contract.features import NUMERIC
from elastier_exporter.repack import repack_bundle
from elastier_exporter.session import open_session
from elastier_exporter.torch_export import export_graph
from elastier_server.engine import packed
from elastier_server.engine.ort import open_engine
from elastier_server.engine.packed import weights_are_shared
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.submodel import Submodel
from support.bundles import redigest, write_wide_bundle

ODD_ROWS = np.array(
    [
        [0.0, -0.0, 1e-40, -1e-45],
        [1e30, -1e30, 3e38, 1.0],
        [np.inf, 1.0, -np.inf, 0.0],
        [np.nan, 1.0, 2.0, 3.0],
        [1e-30, 1e30, 1e-30, 1e30],
    ],
    dtype=np.float32,
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ranker, Bundle]:
    return write_wide_bundle(tmp_path_factory.mktemp("wide") / "bundle")


@pytest.fixture
def copied(wide: tuple[Ranker, Bundle], tmp_path: Path) -> Path:
    """The bundle, to be spoiled."""
    shutil.copytree(wide[1].path, tmp_path / "bundle")
    return tmp_path / "bundle"


def answers(bundle: Bundle, rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    engine = open_engine(bundle, threads=1)
    return [engine.run(tier, {NUMERIC: rows})["logits"] for tier in range(len(bundle.manifest.tiers))]


def rows(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)


def edit_graphs(bundle: Path, edit: Callable[[bytes], bytes]) -> None:
    for path in (bundle / "tiers").iterdir():
        path.write_bytes(edit(path.read_bytes()))
    redigest(bundle)


@pytest.mark.parametrize("given", [rows(1), rows(3), rows(200), ODD_ROWS], ids=["1", "3", "200", "odd"])
def test_a_tier_answers_to_the_bit_as_the_same_tier_exported_by_itself(
    wide: tuple[Ranker, Bundle], tmp_path: Path, given: NDArray[np.float32]
) -> None:
    model, bundle = wide
    for tier, found in zip(bundle.manifest.tiers, answers(bundle, given), strict=True):
        alone = model.extract(Submodel(widths=tier.widths, layers=tier.layers, model_dim=32))
        ir.save(export_graph(alone, bundle.manifest.signature), tmp_path / "alone.onnx")
        session = open_session(tmp_path, "alone.onnx", "d", 1)
        np.testing.assert_array_equal(found, session.run(None, {NUMERIC: given})[0])


def test_wide_tiers_share_packed_weights_and_a_narrow_one_has_its_own(wide: tuple[Ranker, Bundle]) -> None:
    found = {
        (weight.name, weight.tiers): weight.bytes
        for weight in wide[1].manifest.weights
        if weight.kind == "packed" and weight.name.startswith("blocks.1.")
    }
    # The up projection is packed by hidden units; the down projection by 256 of them.
    assert found == {
        ("blocks.1.up_HD", ("w1024", "w256", "w32")): 1024 * 32 * 4,
        ("blocks.1.down_HD", ("w1024", "w256")): 1024 * 32 * 4,
        ("blocks.1.down_HD", ("w32",)): 32 * 32 * 4,
    }
    for tier in wide[1].manifest.tiers:
        model = onnx.load(wide[1].graph_path(tier), load_external_data=False)
        packed_names = {
            tensor.name
            for tensor in model.graph.initializer
            if any(entry.key.startswith("prepacked_") for entry in tensor.external_data)
        }
        assert {f"blocks.{block}.{name}_HD" for block in (0, 1) for name in ("up", "down")} <= packed_names


def test_weights_fit_where_they_were_packed(
    wide: tuple[Ranker, Bundle], caplog: pytest.LogCaptureFixture
) -> None:
    assert weights_are_shared(wide[1])
    assert caplog.records == []


def test_unknown_keys_are_told_once_answers_stay_and_repacking_mends_them(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = answers(open_bundle(copied), rows(7))
    edit_graphs(copied, lambda graph: re.sub(rb"Gemm\+\d", b"Gemm+0", graph))
    other = open_bundle(copied)
    with caplog.at_level(logging.WARNING):
        assert not weights_are_shared(other)
    (record,) = caplog.records
    assert "`elastier repack` makes them fit" in record.getMessage()
    for left, right in zip(before, answers(other, rows(7)), strict=True):
        np.testing.assert_array_equal(left, right)
    mended = repack_bundle(copied)
    assert weights_are_shared(mended)
    assert mended.manifest.weights == other.manifest.weights
    for left, right in zip(before, answers(mended, rows(7)), strict=True):
        np.testing.assert_array_equal(left, right)


def test_where_nothing_can_be_packed_the_version_that_packed_decides(
    copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(packed, "MAX_PACKED_BYTES", 100)
    bundle = open_bundle(copied)
    assert weights_are_shared(bundle)
    assert "cannot pack weights to compare them" in caplog.text
    packed_on = bundle.manifest.packed_on
    assert packed_on is not None
    assert packed_on.onnxruntime == ort.__version__
    older = packed_on.model_copy(update={"onnxruntime": "1.31.0"})
    aged = Bundle(
        path=bundle.path,
        manifest=bundle.manifest.model_copy(update={"packed_on": older}),
        profile=bundle.profile,
    )
    assert not weights_are_shared(aged)


def test_a_changed_packed_byte_is_refused_even_with_the_right_digest(copied: Path) -> None:
    weights = next(weight for weight in open_bundle(copied).manifest.weights if weight.kind == "packed")
    content = bytearray((copied / "weights.bin").read_bytes())
    content[weights.offset + weights.bytes // 2] ^= 1
    (copied / "weights.bin").write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"weights\.bin: expected sha256"):
        open_bundle(copied)
    redigest(copied)
    with pytest.raises(BundleCorruptError, match=r"tiers/w\d+\.onnx: ONNX Runtime refuses it"):
        open_engine(open_bundle(copied), threads=1)


def test_both_layouts_can_be_made_of_each_other(copied: Path, tmp_path: Path) -> None:
    before = open_bundle(copied)
    raw = repack_bundle(copied, tmp_path / "raw", layout="a")
    assert (raw.manifest.layout, raw.manifest.packed_on) == ("a", None)
    assert {weight.kind for weight in raw.manifest.weights} == {"raw"}
    assert [tier.model_copy(update={"plain": None}) for tier in before.manifest.tiers] == list(
        raw.manifest.tiers
    )
    assert weights_are_shared(raw)
    again = repack_bundle(raw.path, tmp_path / "again")
    assert again.manifest.weights == before.manifest.weights
    assert again.weights_path.read_bytes() == before.weights_path.read_bytes()
    np.testing.assert_allclose(answers(raw, rows(5))[0], answers(again, rows(5))[0], atol=1e-6)
