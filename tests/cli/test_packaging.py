"""What a wheel holds: hatchling skips a missing folder silently, so it is looked at."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"cli", "contract", "exporter", "loadtest", "server", "trainer"}


def test_the_wheel_holds_all_packages_with_their_types(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("elastier-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"elastier_{package}/py.typed" for package in PACKAGES} <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {f"elastier_{p}" for p in PACKAGES}
    assert any(name.endswith("licenses/LICENSE") for name in names)
