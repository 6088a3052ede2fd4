"""The images: pinned, unprivileged, built from the folders that they need and no more. No engine here."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from support.tools import ROOT

FOLDERS = {
    "server": {"contract", "server"},
    "trainer": {"contract", "trainer", "exporter", "cli"},
    "loadtest": {"contract", "loadtest", "cli"},
}
EXTRAS = {"server": "serve", "trainer": "export", "loadtest": "loadtest"}

IMPORTED = {
    "server": ("elastier_contract", "elastier_server"),
    "trainer": ("elastier_cli.main", "elastier_trainer", "elastier_exporter"),
    "loadtest": ("elastier_cli.main", "elastier_loadtest"),
}
ABSENT = {
    "server": ("torch", "onnx", "onnx_ir", "onnxscript", "lightgbm", "locust"),
    "trainer": ("fastapi", "uvicorn", "locust"),
    "loadtest": ("torch", "onnx", "onnxruntime", "lightgbm", "fastapi"),
}

IMPORT_ALL = """
import importlib, json, pkgutil, sys
unpacked, site_packages, names, absent = map(json.loads, sys.argv[1:])
sys.path[:0] = [unpacked]
sys.path.append(site_packages)
sys.modules.update(dict.fromkeys(absent))
for name in names:
    package = importlib.import_module(name)
    assert package.__file__.startswith(unpacked), package.__file__
    print(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


def dockerfile(name: str) -> str:
    return (ROOT / f"deploy/{name}/Dockerfile").read_text()


def copied(name: str) -> set[str]:
    """Files and folders of the repository that go into the build."""
    sources: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(name), re.MULTILINE):
        sources.update(line.split()[:-1])
    return sources


def wheel_of(name: str, folder: Path) -> zipfile.ZipFile:
    """The wheel that the image's build makes of what it copied."""
    for source in copied(name):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, folder / source)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "out"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "out").glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.parametrize("name", FOLDERS)
def test_an_image_starts_from_a_pinned_tag_and_ends_unprivileged(name: str) -> None:
    text = dockerfile(name)
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", base) for base in bases)
    assert int(re.findall(r"^USER (\d+):\d+$", text, re.MULTILINE)[-1]) > 0


@pytest.mark.parametrize("name", FOLDERS)
def test_an_image_installs_its_extra_from_its_folders(name: str) -> None:
    assert f"'.[{EXTRAS[name]}]'" in dockerfile(name)
    assert copied(name) == FOLDERS[name] | {"pyproject.toml", "README.md", "LICENSE"}


@pytest.mark.parametrize("name", FOLDERS)
def test_an_images_wheel_holds_what_was_copied_and_nothing_else(name: str, tmp_path: Path) -> None:
    tops = {entry.partition("/")[0] for entry in wheel_of(name, tmp_path).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {f"elastier_{f}" for f in FOLDERS[name]}


@pytest.mark.parametrize("name", FOLDERS)
def test_an_image_runs_on_its_wheel_alone_without_what_its_extra_leaves_out(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "build").mkdir()
    wheel_of(name, tmp_path / "build").extractall(tmp_path / "unpacked")
    given = (str(tmp_path / "unpacked"), sysconfig.get_path("purelib"), IMPORTED[name], ABSENT[name])
    # -S leaves out the editable install, which would offer the other folders too.
    command = [sys.executable, "-S", "-c", IMPORT_ALL, *map(json.dumps, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 5


def test_the_build_context_lets_only_the_images_sources_in() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == set.union(*map(copied, FOLDERS))
