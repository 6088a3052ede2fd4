"""`elastier export` on a run that was really trained: widths, names, and what is refused without a trace."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from elastier_cli.main import app
from elastier_contract.bundle import open_bundle
from elastier_contract.errors import BundleError, ElastierError
from elastier_exporter.errors import TierError
from elastier_trainer.config_file import load_config
from elastier_trainer.errors import TrainerError
from elastier_trainer.run import run_training
from support.processes import run_to_end
from support.small_run import SMALL_LADDER, write_small_run


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with widths 2, 4, 8 and 16."""
    folder = tmp_path_factory.mktemp("trained")
    run_training(load_config(write_small_run(folder)), folder / "small-run", command="elastier train")
    return folder / "small-run"


def export(run: Path, out: Path, *flags: str) -> Result:
    return CliRunner().invoke(app, ["export", str(run), "--out", str(out), "--runs", "1", *flags])


def test_all_widths_are_exported_by_default_under_the_runs_name(trained_run: Path, tmp_path: Path) -> None:
    result = export(trained_run, tmp_path / "bundle")
    assert result.exit_code == 0, result.output
    manifest = open_bundle(tmp_path / "bundle").manifest
    assert [tier.widths[0] for tier in manifest.tiers] == list(SMALL_LADDER)
    assert (manifest.name, manifest.version) == ("small-run", "1")
    for line in ("small-run version 1: 4 tiers", "latency by rows of a request"):
        assert line in result.stdout


def test_widths_name_and_version_are_what_was_asked_for(trained_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    result = export(trained_run, out, "--students", "w8,w4", "--name", "ctr", "--version", "2.1", "--json")
    assert result.exit_code == 0, result.output
    document, bundle = json.loads(result.stdout), open_bundle(out)
    assert document["bundle"] == str(out)
    assert [tier["name"] for tier in document["tiers"]] == ["w4", "w8", "w16"]  # the TA is always there
    assert set(bundle.profile.tiers) == {"w4", "w8", "w16"}
    assert (bundle.manifest.name, bundle.manifest.version) == ("ctr", "2.1")
    for told, tier in zip(document["tiers"], bundle.manifest.tiers, strict=True):
        assert (told["parameters"], told["auc"]) == (tier.parameters, tier.quality.value)


def test_an_older_bundle_is_replaced(trained_run: Path, tmp_path: Path) -> None:
    for version in ("1", "2"):
        assert (
            export(trained_run, tmp_path / "bundle", "--students", "w2", "--version", version).exit_code == 0
        )
    assert open_bundle(tmp_path / "bundle").manifest.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_students_and_a_tier_file_at_once_are_a_usage_error(trained_run: Path, tmp_path: Path) -> None:
    result = export(trained_run, tmp_path / "bundle", "--students", "w2", "--tiers", "tiers.yaml")
    assert result.exit_code == 2
    assert "give one of them" in re.sub(r"[\s│]+", " ", result.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flags", [("--runs", "0"), ("--threads", "0"), ("--runs", "many")])
def test_numbers_out_of_range_are_a_usage_error(
    trained_run: Path, tmp_path: Path, flags: tuple[str, str]
) -> None:
    result = export(trained_run, tmp_path / "bundle", *flags)
    assert result.exit_code == 2
    assert flags[0] in result.stderr
    assert list(tmp_path.iterdir()) == []


STUDENTS = [f"w{width}" for width in SMALL_LADDER]


@pytest.mark.parametrize("students", ["w3", "w2,w1024", "8", ""])
def test_students_that_were_not_trained_are_named(trained_run: Path, tmp_path: Path, students: str) -> None:
    result = export(trained_run, tmp_path / "bundle", f"--students={students}")
    unknown = [name for name in students.split(",") if name not in STUDENTS]
    assert isinstance(result.exception, TierError)
    assert str(result.exception) == f"expected students that the run trained, of {STUDENTS}, got {unknown}"
    assert list(tmp_path.iterdir()) == []


def test_a_process_tells_an_unknown_student_in_one_line_and_exits_with_2(
    trained_run: Path, tmp_path: Path
) -> None:
    arguments = ["export", str(trained_run), "--out", str(tmp_path / "bundle"), "--students", "w3", "--json"]
    finished = run_to_end(["-m", "elastier_cli", *arguments])
    assert (finished.returncode, finished.stdout) == (2, "")
    last = finished.stderr.splitlines()[-1]
    assert last == f"error: expected students that the run trained, of {STUDENTS}, got ['w3']"
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for run in (tmp_path / "empty", tmp_path / "missing"):
        result = export(run, tmp_path / "bundle")
        assert isinstance(result.exception, TrainerError)
        assert str(run) in str(result.exception)
        assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_bundle_is_not_overwritten(trained_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    result = export(trained_run, out)
    assert isinstance(result.exception, BundleError)
    assert f"expected a bundle or nothing at {out}" in str(result.exception)
    assert (out / "letter.txt").read_text() == "dear"


def test_a_name_that_no_url_can_carry_is_refused_and_nothing_is_written(
    trained_run: Path, tmp_path: Path
) -> None:
    result = export(trained_run, tmp_path / "bundle", "--students", "w2", "--name", "a/b")
    assert isinstance(result.exception, ElastierError)
    assert "name" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
