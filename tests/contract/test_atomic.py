"""All or nothing: old state or new state, whatever interrupts the writer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elastier_contract import atomic

KILLED_WRITER = """
import os, sys
from pathlib import Path
from elastier_contract import atomic
path = Path(sys.argv[1])
def stop(where):
    print(where, flush=True)
    sys.stdin.read()
if sys.argv[2] == "folder":
    with atomic.folder(path) as staging:
        (staging / "content").write_text("new")
        stop("filled")
else:
    os.fsync = lambda descriptor: stop("written")
    atomic.write_file(path, b"new")
"""


def killed_writer(path: Path, kind: str) -> None:
    """Run a writer up to the moment before its rename, and kill it there."""
    command = [sys.executable, "-c", KILLED_WRITER, str(path), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    atomic.write_file(path, b"old")
    atomic.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_writer_changes_nothing_and_leaves_nothing_for_long(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "target"
    if kind == "file":
        path.write_bytes(b"old")
    else:
        path.mkdir()
        (path / "content").write_text("old")
    killed_writer(path, kind)
    content = path if kind == "file" else path / "content"
    assert content.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2

    if kind == "file":
        atomic.write_file(path, b"next")
    else:
        with atomic.folder(path) as staging:
            (staging / "content").write_text("next")
    assert content.read_text() == "next"
    assert os.listdir(tmp_path) == ["target"]


def test_two_writers_at_once_do_not_touch_each_other(tmp_path: Path) -> None:
    path = tmp_path / "target"
    with atomic.folder(path) as first:
        (first / "content").write_text("first")
        with atomic.folder(path) as second:
            (second / "content").write_text("second")
        assert (path / "content").read_text() == "second"
    assert (path / "content").read_text() == "first"
    assert os.listdir(tmp_path) == ["target"]


def test_an_error_inside_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "target"
    with atomic.folder(path) as staging:
        (staging / "content").write_text("old")
    with pytest.raises(RuntimeError), atomic.folder(path) as staging:
        (staging / "content").write_text("new")
        raise RuntimeError
    assert (path / "content").read_text() == "old"


def test_without_an_atomic_exchange_the_folder_is_still_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    path = tmp_path / "target"
    for content in ("old", "new"):
        with atomic.folder(path) as staging:
            (staging / "content").write_text(content)
    assert (path / "content").read_text() == "new"
    assert os.listdir(tmp_path) == ["target"]
