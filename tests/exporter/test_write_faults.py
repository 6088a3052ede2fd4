"""A full disk, and two writers at once: the old bundle or a whole new one, and nothing left over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elastier_contract.bundle import Bundle, open_bundle
from support.processes import run_to_end
from support.tiny import write_tiny_bundle

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is then an error, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["elastier", *{arguments!r}]
from elastier_cli.main import main
main()
"""


@pytest.mark.parametrize(("layout", "limit"), [("a", 100), ("a", 3000), ("d", 3000), ("d", 9000)])
def test_a_full_disk_is_an_error_and_the_old_bundle_stays(
    tiny_bundle: Bundle, layout: str, limit: int
) -> None:
    arguments = ["repack", str(tiny_bundle.path), "--layout", layout]
    finished = run_to_end(["-c", LIMITED.format(limit=limit, arguments=arguments)])
    assert finished.returncode == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    assert "error: " in finished.stderr
    assert open_bundle(tiny_bundle.path).manifest == tiny_bundle.manifest
    assert os.listdir(tiny_bundle.path.parent) == [tiny_bundle.path.name]


def test_two_writers_at_once_leave_one_whole_bundle(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    code = "import sys; from elastier_cli.main import main; sys.argv = ['elastier', *sys.argv[1:]]; main()"
    commands = [
        [sys.executable, "-c", code, "repack", str(bundle.path), "--layout", layout] for layout in "adad"
    ]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4, errors
    assert open_bundle(bundle.path).manifest.tiers[0].quality == bundle.manifest.tiers[0].quality
    assert os.listdir(tmp_path) == ["bundle"]
