"""Memory and latency of shared tiers against separate files, measured in real processes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elastier_cli.main import app
from elastier_contract.bundle import open_bundle
from elastier_contract.errors import BundleError
from elastier_exporter.bench import bench_bundle
from support.bundles import redigest, write_wide_bundle


@pytest.mark.slow
def test_shared_tiers_take_less_than_separate_files_and_answer_alike(tmp_path: Path) -> None:
    _, bundle = write_wide_bundle(tmp_path / "bundle")
    arguments = ["bench-bundle", str(bundle.path), "--runs", "3", "--repeats", "1", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["tiers"] == ["w32", "w256", "w1024"]
    assert 0 < found["pss_largest_bytes"] < found["pss_shared_bytes"] < found["pss_separate_bytes"]
    assert found["pss_shared_bytes"] < found["pss_processes_bytes"] < 4 * found["pss_shared_bytes"]
    assert [(row["tier"], row["rows"]) for row in found["latency"]] == [
        (tier, rows) for rows in (1, 32, 200) for tier in found["tiers"]
    ]
    assert all(row["same_bits"] and row["ratio"] > 0 for row in found["latency"])
    assert found["latency_ratio"].keys() == found["speedup_smallest"].keys() == {"1", "32", "200"}
    assert max(found["latency_ratio"].values()) <= found["latency_ratio_worst"]
    assert found["flop_ratio_smallest"] > 20
    assert 2 < found["weights_ratio"] < 2.3
    assert found["graph_bytes_max"] < 65536
    assert found["slice_seconds_per_tier"] > 0


def test_a_tier_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    _, bundle = write_wide_bundle(tmp_path / "bundle")
    (bundle.path / "tiers/w256.onnx").write_bytes(b"no graph")
    redigest(bundle.path)
    with pytest.raises(BundleError, match="INVALID_PROTOBUF"):
        bench_bundle(open_bundle(bundle.path), runs=1, repeats=1)
