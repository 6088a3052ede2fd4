"""The rows and tables of a bundle's tiers: exact figures, what they load, and where a bundle says it comes from."""

import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from elastier_cli.main import app
from elastier_cli.tier_table import tier_rows, tier_tables
from elastier_contract.bundle import Bundle, open_bundle
from elastier_trainer.config_file import load_config
from elastier_trainer.run import run_training
from support.processes import run_to_end
from support.small_run import write_small_run

ROW_KEYS = [
    "name",
    "width",
    "parameters",
    "bytes",
    "own_bytes",
    "flops_per_row",
    "layers",
    "model_dim",
    "metric",
    "auc",
    "auc_low",
    "auc_high",
    "p50_ms",
    "p95_ms",
]


def test_a_row_holds_a_tiers_quality_size_and_interpolated_latency(tiny_bundle: Bundle) -> None:
    rows = tier_rows(tiny_bundle)
    assert [row["name"] for row in rows] == ["w4", "w16", "w64"]
    assert all(list(row) == ROW_KEYS for row in rows)
    middle = rows[1]
    assert (middle["width"], middle["parameters"], middle["bytes"]) == (16, 672, 2688)
    assert (middle["auc"], middle["auc_low"], middle["auc_high"]) == (0.75, 0.74, 0.76)
    assert middle["p50_ms"] == pytest.approx({1: 2.01, 30: 2.3, 200: 4.0})
    assert middle["p95_ms"] == middle["p50_ms"]


def test_the_tables_fit_a_terminal_and_compare_every_tier_with_the_largest(tiny_bundle: Bundle) -> None:
    terminal = Console(width=80)
    with terminal.capture() as captured:
        terminal.print(tier_tables(tiny_bundle))
    lines = captured.get().splitlines()
    smallest = [line for line in lines if "w4 " in line]
    assert max(map(len, lines)) <= 80
    assert "0.7000" in smallest[0]
    assert "0.6900–0.7100" in smallest[0]
    assert "1.010 / 1.010" in smallest[1]
    assert "2.0×" in smallest[1]  # (4 + 2) / (1 + 2) ms at 200 rows
    assert not any("…" in line for line in lines)


def test_inspect_prints_one_json_document(tiny_bundle: Bundle) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tiny_bundle.path), "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["name"], document["layout"], document["task"]) == ("tiny", "a", "binary")
    assert document["machine"]["processor"] == "invented"
    assert [tier["p50_ms"]["200"] for tier in document["tiers"]] == [3.0, 4.0, 6.0]


def test_inspecting_needs_neither_torch_nor_onnx(tiny_bundle: Bundle) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnx_ir', 'onnxruntime')));"
        f"sys.argv = ['elastier', 'inspect', {str(tiny_bundle.path)!r}, '--json'];"
        "from elastier_cli.main import main; main()"
    )
    finished = run_to_end(["-c", code])
    assert finished.returncode == 0, finished.stderr
    assert len(json.loads(finished.stdout)["tiers"]) == 3


def test_a_bundle_tells_what_was_typed_to_train_and_to_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(load_config(write_small_run(tmp_path)), tmp_path / "run", command="elastier train")
    run, out = str(tmp_path / "run"), tmp_path / "a bundle"
    arguments = ["export", run, "--out", str(out), "--runs", "1", "--students", "w2"]
    monkeypatch.setattr("sys.argv", ["elastier", *arguments])
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    typed = f"elastier train && elastier export {run} --out '{out}' --runs 1 --students w2"
    assert open_bundle(out).manifest.provenance.command == typed
