"""SIGKILL at several moments of an export: an old bundle still opens, the next export works, nothing is left."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elastier_contract.bundle import open_bundle
from elastier_contract.errors import BundleNotFoundError
from elastier_exporter.export import ExportOptions, export_bundle
from elastier_exporter.profiling import Measuring

EXPORT = """
import sys
from pathlib import Path
from elastier_exporter.profiling import Measuring
from elastier_exporter.export import ExportOptions, export_bundle

def progress(task, done, total, detail=""):
    print(task, detail, f"{done:g}/{total:g}", flush=True)

options = ExportOptions(version="new", measuring=Measuring(runs=2))
export_bundle(Path(sys.argv[1]), Path(sys.argv[2]), options=options, progress=progress)
"""
SEALS = "22/22"
"""After the last of two rounds at eleven batch sizes only the sealing is left."""


@pytest.fixture(scope="module")
def old_bundle(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("old") / "bundle"
    return export_bundle(
        small_run, out, options=ExportOptions(version="old", measuring=Measuring(runs=1))
    ).path


def kill_an_export_at(moment: str, run: Path, out: Path) -> None:
    """Start a process that exports, and kill it once a line of its progress begins like this."""
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(run), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith(moment) for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    # At the last moment the export may be through before the signal is.
    assert process.returncode == -signal.SIGKILL or moment.endswith(SEALS)


@pytest.mark.parametrize("moment", ["export TA", "export w16 auc"])
def test_a_killed_export_leaves_the_old_bundle_and_the_next_one_no_rest(
    small_run: Path, old_bundle: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "bundle"
    shutil.copytree(old_bundle, out)
    kill_an_export_at(moment, small_run, out)
    assert open_bundle(out).manifest.version == "old"

    export_bundle(small_run, out, options=ExportOptions(version="next", measuring=Measuring(runs=1)))
    assert open_bundle(out).manifest.version == "next"
    assert os.listdir(tmp_path) == ["bundle"]


def test_a_killed_first_export_leaves_no_bundle_and_the_next_one_no_rest(
    small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    kill_an_export_at("export w8 3/", small_run, out)
    with pytest.raises(BundleNotFoundError):
        open_bundle(out)

    export_bundle(small_run, out, options=ExportOptions(version="next", measuring=Measuring(runs=1)))
    assert open_bundle(out).manifest.version == "next"
    assert os.listdir(tmp_path) == ["bundle"]


def test_an_export_killed_as_it_seals_leaves_the_old_bundle_or_the_new_one(
    small_run: Path, old_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    shutil.copytree(old_bundle, out)
    kill_an_export_at(f"profile 1024 rows {SEALS}", small_run, out)
    assert open_bundle(out).manifest.version in {"old", "new"}

    export_bundle(small_run, out, options=ExportOptions(version="next", measuring=Measuring(runs=1)))
    assert open_bundle(out).manifest.version == "next"
    assert os.listdir(tmp_path) == ["bundle"]
