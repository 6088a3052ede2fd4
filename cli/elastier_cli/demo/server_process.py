"""A server in a process of its own, as a user would run it."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elastier_contract.errors import ElastierError

READY_LINE = "listening on "
STOP_SECONDS = 40
"""More than the server takes to drain."""


class ServerStartError(ElastierError):
    """The server ended before it was ready."""


@contextmanager
def running_server(bundle: Path, *, port: int, log: Path) -> Iterator[str]:
    """Serve `bundle` until the block ends, and yield the server's URL once it is ready.

    Args:
        bundle: The bundle's folder.
        port: Port on the loopback address, 0 for any that is free.
        log: File for what the server writes on stderr.

    Raises:
        ServerStartError: The server ended before it was ready; says what it wrote last.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "elastier_cli", "serve", str(bundle), "--port", str(port)]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True) as process,
    ):
        try:
            yield _wait_until_ready(process, log)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the server drain, but not for ever."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    if process.stdout is None:
        raise ServerStartError("expected a pipe to the server's stdout, got none")
    for line in process.stdout:
        text = line.decode().strip()
        if text.startswith(READY_LINE):
            return text.removeprefix(READY_LINE)
    last = log.read_text(errors="replace").strip().splitlines()
    raise ServerStartError(
        f"the server ended before it was ready: {last[-1] if last else 'it wrote nothing'}"
    )
