"""Writing that is all or nothing: a process killed at any moment leaves the old state or the new one.

A new file or folder is made beside its place, synced to disk, and renamed over it. What a killed
process left behind is removed by the next write to the same place.
"""

import ctypes
import ctypes.util
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def write_file(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content`, atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.staging-")
    staging = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _remove_leftovers(path, keep=staging)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            staging.chmod(0o644)
            staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` on a clean exit, in place of what was there.

    On an error inside the block nothing changes at `path`.
    """
    path = _absolute(path)
    with scratch(path) as staging:
        yield staging
        _sync_tree(staging)
        staging.chmod(0o755)
        _swap_in(staging, path)
    _sync(path.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which is gone in the end; after a kill, with the next write to `path`."""
    path = _absolute(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.staging-"))
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _remove_leftovers(path, keep=staging)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(descriptor)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link at `path` itself


def _swap_in(staging: Path, path: Path) -> None:
    """Make `staging` be `path`; what was at `path` is then at `staging`, if there was anything."""
    try:
        staging.rename(path)
    except OSError:  # there is something at `path`: a folder is never silently merged
        if not _exchange(staging, path):
            aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.staging-"))
            path.rename(aside / path.name)
            staging.rename(path)
            shutil.rmtree(aside)


def _exchange(left: Path, right: Path) -> bool:
    """Swap two paths in one step where the kernel can (Linux renameat2, glibc 2.28); False elsewhere."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    status = libc.renameat2(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE)
    return bool(status == 0)


def _remove_leftovers(path: Path, keep: Path) -> None:
    """Remove what killed writers left; a live writer holds a lock on its own staging place."""
    for leftover in path.parent.glob(f".{path.name}.staging-*"):
        if leftover == keep:
            continue
        with suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            finally:
                os.close(descriptor)


def _sync_tree(root: Path) -> None:
    for parent, _, names in os.walk(root):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
