"""What the operating system refuses is one line, too."""

import subprocess
import sys
from pathlib import Path


def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "flights"
    command = [sys.executable, "-m", "elastier_cli", "data", "flights", "--out", str(out), "--json"]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stdout == ""
    (line,) = [line for line in finished.stderr.splitlines() if "error" in line]
    assert "Not a directory" in line
    assert "Traceback" not in finished.stderr
