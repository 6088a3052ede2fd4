"""Servers as real processes; whatever a test does, none outlives it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parent.parent
LISTENING = "listening on "


@dataclass(frozen=True)
class ServerProcess:
    """A server that listens."""

    process: subprocess.Popen[str]
    url: str

    def read_line(self) -> str:
        """The next line of its stdout; blocks until there is one."""
        if self.process.stdout is None:
            raise RuntimeError("expected a pipe")
        return self.process.stdout.readline().strip()

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(timeout=30)


@contextmanager
def server_process(arguments: Sequence[str]) -> Iterator[ServerProcess]:
    """Start Python with these arguments and yield it when it listens."""
    environment = os.environ | {"PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            if process.stdout is None or process.stderr is None:
                raise RuntimeError("expected pipes")
            line = process.stdout.readline().strip()
            if not line.startswith(LISTENING):
                raise RuntimeError(f"expected a listening server, got {line!r}: {process.stderr.read()}")
            yield ServerProcess(process, line.removeprefix(LISTENING))
        finally:
            process.kill()


def run_to_end(arguments: Sequence[str], *, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False
    )
