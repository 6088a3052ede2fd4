"""`elastier inspect` as a process of its own: a terminal of 80 columns, scripts, and bundles that are not sound."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elastier_cli.main import app
from elastier_contract.bundle import Bundle
from support.bundles import redigest

ELASTIER = Path(sys.executable).with_name("elastier")


def elastier(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ELASTIER, *arguments], capture_output=True, text=True, timeout=60, check=False)


def with_large_numbers(bundle: Bundle) -> Bundle:
    """The same bundle, its tiers as large, slow and long-named as real ones may be."""
    path = bundle.path / "manifest.json"
    document = json.loads(path.read_text())
    document["name"] = "click-through-rate-of-the-front-page"
    for tier in document["tiers"]:
        tier["parameters"] *= 400_000
        tier["flops_per_row"] *= 20_000
    path.write_text(json.dumps(document))
    redigest(bundle.path)
    return bundle


@pytest.mark.parametrize("prepare", [lambda bundle: bundle, with_large_numbers])
def test_a_process_prints_every_tier_within_80_columns(
    tiny_bundle: Bundle, prepare: Callable[[Bundle], Bundle]
) -> None:
    finished = elastier("inspect", str(prepare(tiny_bundle).path))
    assert (finished.returncode, finished.stderr) == (0, "")
    lines = finished.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for tier in tiny_bundle.manifest.tiers:
        assert sum(line.startswith(f"│ {tier.name} ") for line in lines) == 2
    assert "…" not in finished.stdout


def test_scripts_get_all_but_vocabularies_and_digests(tiny_bundle: Bundle) -> None:
    finished = elastier("inspect", str(tiny_bundle.path), "--json")
    assert (finished.returncode, finished.stderr) == (0, "")
    document = json.loads(finished.stdout)
    assert set(document) == {
        "schema_version",
        "name",
        "version",
        "created_at",
        "layout",
        "task",
        "classes",
        "label_mean",
        "label_std",
        "signature",
        "tiers",
        "weights",
        "weight_bytes",
        "packed_on",
        "provenance",
        "machine",
    }
    assert set(document["machine"]) == {"processor", "cores", "system", "onnxruntime"}
    assert [tier["name"] for tier in document["tiers"]] == ["w4", "w16", "w64"]
    assert set(document["tiers"][0]["p95_ms"]) == {"1", "30", "200"}


def drop_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def drop_graph(folder: Path) -> None:
    (folder / "tiers/w16.onnx").unlink()


def change_graph(folder: Path) -> None:
    content = bytearray((folder / "tiers/w16.onnx").read_bytes())
    content[10] ^= 1
    (folder / "tiers/w16.onnx").write_bytes(content)


def shorten_weights(folder: Path) -> None:
    (folder / "weights.bin").write_bytes((folder / "weights.bin").read_bytes()[:-1])


def link_weights(folder: Path) -> None:
    (folder / "weights.bin").rename(folder.parent / "elsewhere.bin")
    (folder / "weights.bin").symlink_to(folder.parent / "elsewhere.bin")


def tear_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes()[:-100])


def change_manifest(folder: Path, key: str, value: object) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(document | {key: value}))


def age_manifest(folder: Path) -> None:
    change_manifest(folder, "schema_version", "3.0")


def misspell_manifest(folder: Path) -> None:
    change_manifest(folder, "teirs", [])


def change_profile(folder: Path) -> None:
    (folder / "profile.json").write_text(
        (folder / "profile.json").read_text().replace("invented", "Invented")
    )


def drop_all(folder: Path) -> None:
    shutil.rmtree(folder)


def put_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_manifest, "expected manifest.json in {folder}, found none: not a bundle"),
        (drop_graph, "tiers/w16.onnx: the manifest names it, but it is missing"),
        (change_graph, "tiers/w16.onnx: expected sha256"),
        (shorten_weights, "weights.bin: expected "),
        (link_weights, "weights.bin: expected a plain file, found a link"),
        (tear_manifest, "manifest.json: not valid JSON"),
        (age_manifest, "manifest.json: format 3.0 is newer than 2.x"),
        (misspell_manifest, "manifest.json: teirs: Extra inputs are not permitted"),
        (change_profile, "profile.json: expected sha256"),
        (drop_all, "expected a bundle folder at {folder}, found nothing"),
        (put_a_file, "expected a bundle folder at {folder}, found a file"),
    ],
)
def test_an_unsound_bundle_is_an_error_that_names_the_file(
    tiny_bundle: Bundle, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tiny_bundle.path)
    result = CliRunner().invoke(app, ["inspect", str(tiny_bundle.path)])
    assert message.format(folder=tiny_bundle.path) in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""


def test_a_process_tells_an_unsound_bundle_in_one_line_without_traceback(tiny_bundle: Bundle) -> None:
    shorten_weights(tiny_bundle.path)
    size = tiny_bundle.weights_path.stat().st_size
    for flags in ([], ["--json"]):
        finished = elastier("inspect", str(tiny_bundle.path), *flags)
        assert (finished.returncode, finished.stdout) == (1, "")
        assert finished.stderr == f"error: weights.bin: expected {size + 1} bytes, found {size}\n"


def test_a_path_in_brackets_is_printed_as_it_is(tmp_path: Path) -> None:
    finished = elastier("inspect", str(tmp_path / "[bold]no"))
    assert finished.returncode == 1
    assert finished.stderr == f"error: expected a bundle folder at {tmp_path / '[bold]no'}, found nothing\n"
