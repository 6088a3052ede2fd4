"""A thousand mutations of every file of a bundle: an error with the file's name or the same answers, never a crash."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from elastier_contract.bundle import Bundle
from support.bundles import write_wide_bundle
from support.tiny import write_tiny_bundle

CASES = 500
OUTCOMES = ("refused", "opened", "the same")


def wide(path: Path) -> Bundle:
    return write_wide_bundle(path)[1]


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_tiny_bundle, wide], ids=["layout a", "layout d"])
def test_mutated_bundles_are_refused_by_name_or_answer_as_before(
    tmp_path: Path, write: Callable[[Path], Bundle]
) -> None:
    bundle = write(tmp_path / "bundle")
    finished = subprocess.run(
        [sys.executable, "-m", "support.fuzz", str(bundle.path), "0", str(CASES)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    *_, last = finished.stdout.splitlines()
    assert finished.returncode == 0, f"after {last!r}: {finished.stderr[-2000:]}"
    # ONNX Runtime prints too.
    outcomes = Counter(line for line in finished.stdout.splitlines() if line in OUTCOMES)
    assert outcomes.total() == CASES
    assert outcomes["refused"] > CASES * 0.7
