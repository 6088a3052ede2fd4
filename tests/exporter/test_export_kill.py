"""SIGKILL at any moment of an export: the old bundle still opens, the next export works, nothing is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elastier_contract.bundle import open_bundle
from elastier_exporter.export import ExportOptions, export_bundle

EXPORT = """
import sys
from pathlib import Path
from elastier_exporter.export import ExportOptions, export_bundle

def progress(task, done, total, detail=""):
    print(task, detail, flush=True)

export_bundle(Path(sys.argv[1]), Path(sys.argv[2]), options=ExportOptions(version="new", runs=2), progress=progress)
"""


@pytest.mark.parametrize("moment", ["export TA", "export w8\n", "export w16 AUC", "profile 1024 rows"])
def test_a_killed_export_leaves_the_old_bundle_and_no_rest(
    small_run: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "bundle"
    options = ExportOptions(version="old", runs=1)
    export_bundle(small_run, out, options=options)
    command = [sys.executable, "-W", "ignore", "-c", EXPORT, str(small_run), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith(moment) for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    assert open_bundle(out).manifest.version in {"old", "new"}
    if moment != "profile 1024 rows":
        assert open_bundle(out).manifest.version == "old"

    export_bundle(small_run, out, options=options)
    assert open_bundle(out).manifest.version == "old"
    assert os.listdir(tmp_path) == ["bundle"]
