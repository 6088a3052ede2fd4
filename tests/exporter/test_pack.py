"""ONNX files of any source into a bundle and out again, without torch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from elastier_contract.bundle import open_bundle
from elastier_exporter.errors import ExporterError
from elastier_exporter.pack import pack_bundle
from elastier_exporter.profiling import Measuring
from elastier_exporter.unpack import unpack_tier
from elastier_server.engine.ort import open_engine
from elastier_trainer.errors import ConfigError
from elastier_trainer.metrics import auc
from support.processes import run_to_end

TABLE = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
ONCE = Measuring(runs=1)


NO_TORCH = """
import sys

class NoTorch:
    def find_spec(name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTorch)
"""


def write_onnx(path: Path, hidden: int, *, rows: str | int = "rows", columns: int = 1, seed: int = 1) -> None:
    """A network over ids: a table that all of them have, two products, an ordinary export."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {
        "table": TABLE,
        "w1": (rng.standard_normal((64, hidden)) / 8).astype(np.float32),
        "w2": rng.standard_normal((hidden, columns)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def write_files(folder: Path, **changes: Any) -> Path:
    """Two tiers, labelled rows, and a `tiers.yaml` with `changes` on top of its keys."""
    write_onnx(folder / "small.onnx", 16)
    write_onnx(folder / "large.onnx", 512, seed=2)
    ids = np.arange(50, dtype=np.int64)
    np.savez(folder / "rows.npz", ids=ids, label=(TABLE[:, 0] > 0).astype(np.int64))
    document = {
        "name": "own",
        "labelled": "rows.npz",
        "limits": {},
        "tiers": {"large": {"graph": "large.onnx"}, "small": {"graph": "small.onnx"}},
    }
    (folder / "tiers.yaml").write_text(yaml.safe_dump(document | changes))
    return folder / "tiers.yaml"


def answer(path: Path, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = ort.InferenceSession(path).run(None, {"ids": ids})[0]
    return found


@pytest.mark.parametrize("layout", ["a", "d"])
def test_files_become_tiers_that_answer_as_they_do_and_share_what_is_equal(
    tmp_path: Path, layout: Any
) -> None:
    bundle = pack_bundle(write_files(tmp_path), tmp_path / "bundle", layout=layout, measuring=ONCE)
    small, large = bundle.manifest.tiers
    assert (small.name, small.flops_per_row) == ("small", 2 * (64 * 16 + 16))
    assert (large.name, large.flops_per_row) == ("large", 2 * (64 * 512 + 512))
    assert (small.widths, small.layers, small.parameters) == ((), (), TABLE.size + 64 * 16 + 16)
    table = [weight for weight in bundle.manifest.weights if weight.name == "table"]
    assert [(weight.kind, weight.bytes, weight.tiers) for weight in table] == [
        ("raw", TABLE.nbytes, ("large", "small"))
    ]
    ids = np.arange(50, dtype=np.int64)
    engine = open_engine(bundle, threads=1)
    for index, tier in enumerate((small, large)):
        expected = answer(tmp_path / f"{tier.name}.onnx", ids)
        np.testing.assert_allclose(engine.run(index, {"ids": ids})["y"], expected, rtol=1e-5, atol=1e-5)
        assert tier.quality.value == pytest.approx(auc(expected[:, 0], TABLE[:, 0] > 0))
        assert (tier.quality.metric, tier.quality.split) == ("auc", "labelled")


def test_weights_beside_a_file_are_found_and_given_quality_is_kept(tmp_path: Path) -> None:
    quality = {
        "metric": "auc",
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "chance": 0.5,
        "rows": 9,
        "split": "mine",
    }
    tiers = {"only": {"graph": "large.onnx", "quality": quality, "flops_per_row": 7}}
    file = write_files(tmp_path, tiers=tiers, labelled=None)
    onnx.save(
        onnx.load(tmp_path / "large.onnx"), tmp_path / "large.onnx", save_as_external_data=True, location="w"
    )
    (tier,) = pack_bundle(file, tmp_path / "bundle", measuring=ONCE).manifest.tiers
    assert (tier.quality.value, tier.quality.split, tier.flops_per_row) == (0.8, "mine", 7)


def test_a_tier_comes_out_as_one_ordinary_file(tmp_path: Path) -> None:
    bundle = pack_bundle(write_files(tmp_path), tmp_path / "bundle", measuring=ONCE)
    out = unpack_tier(bundle.path, "large", tmp_path / "alone" / "large.onnx")
    onnx.checker.check_model(out, full_check=True)
    model = onnx.load(out)
    assert {opset.domain for opset in model.opset_import} == {""}
    ids = np.arange(50, dtype=np.int64)
    np.testing.assert_array_equal(answer(out, ids), answer(tmp_path / "large.onnx", ids))
    with pytest.raises(ExporterError, match=r"expected a tier of \['small', 'large'\], got 'huge'"):
        unpack_tier(bundle.path, "huge", out)


def test_no_torch_is_needed(tmp_path: Path) -> None:
    file, bundle = write_files(tmp_path), tmp_path / "bundle"
    for arguments in (
        ["pack", str(file), "--out", str(bundle), "--runs", "1"],
        ["repack", str(bundle)],
        ["unpack", str(bundle), "--tier", "small", "--out", str(tmp_path / "small2.onnx")],
    ):
        code = f"{NO_TORCH}sys.argv = ['elastier', *{arguments!r}];from elastier_cli.main import main; main()"
        finished = run_to_end(["-c", code])
        assert finished.returncode == 0, finished.stderr
    assert open_bundle(bundle).manifest.provenance.command.startswith("elastier pack ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tiers": {"a": {"graph": "none.onnx"}}},
            r"tier 'a': expected an ONNX file at .*none\.onnx, found none",
        ),
        ({"tiers": {"a": {"graph": "tiers.yaml"}}}, "tier 'a': expected an ONNX file .* cannot open it"),
        ({"labelled": None}, r"expected `labelled`, or the quality of tiers \['large', 'small'\]"),
        ({"labelled": "tiers.yaml"}, "expected an .npz file of arrays"),
        ({"task": "multiclass"}, "expected classes for a multiclass task"),
        ({"tiers": {}}, "tiers: "),
        ({"colour": 1}, "colour: unknown key"),
        (
            {"tiers": {"a": {"graph": "large.onnx"}, "b": {"graph": "fixed.onnx"}}},
            "tier 'b': ids: expected an open number of rows",
        ),
        (
            {"tiers": {"a": {"graph": "large.onnx"}, "b": {"graph": "two.onnx"}}},
            r"tier 'b': expected the inputs and outputs of tier 'a', .* FP32 \[-1, 1\], got .* FP32 \[-1, 2\]",
        ),
        ({"limits": {"ids": [50]}}, "limits of 'ids' must be one per column"),
    ],
)
def test_what_cannot_be_packed_is_refused_and_nothing_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = write_files(tmp_path, **changes)
    write_onnx(tmp_path / "fixed.onnx", 600, rows=4)
    write_onnx(tmp_path / "two.onnx", 700, columns=2)
    with pytest.raises((ExporterError, ConfigError), match=message):
        pack_bundle(file, tmp_path / "bundle", measuring=ONCE)
    assert not (tmp_path / "bundle").exists()


def test_labelled_rows_of_other_arrays_are_refused(tmp_path: Path) -> None:
    file = write_files(tmp_path)
    np.savez(tmp_path / "rows.npz", ids=np.arange(50, dtype=np.int32), label=np.zeros(50))
    with pytest.raises(ConfigError, match=r"expected ids as int64 \[50\], got int32 \[50\]"):
        pack_bundle(file, tmp_path / "bundle", measuring=ONCE)
    np.savez(tmp_path / "rows.npz", other=np.zeros(3))
    with pytest.raises(ConfigError, match=r"expected arrays \['ids', 'label'\], got \['other'\]"):
        pack_bundle(file, tmp_path / "bundle", measuring=ONCE)
