"""Opening and writing bundles: what is damaged is refused by name, what is interrupted changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elastier_contract.bundle import MANIFEST_FILE, Bundle, new_bundle, open_bundle, seal
from elastier_contract.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleVersionError,
)
from elastier_contract.profile import LatencyProfile


def edit_manifest(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle.path / MANIFEST_FILE
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_bundle_opens_with_its_tiers_from_cheap_to_costly(tiny_bundle: Bundle) -> None:
    manifest = open_bundle(tiny_bundle.path).manifest
    assert [tier.name for tier in manifest.tiers] == ["w4", "w16", "w64"]
    assert [round(manifest.utility(tier), 3) for tier in manifest.tiers] == [0.667, 0.833, 1.0]
    assert manifest.tier("w16") == manifest.tiers[1]
    assert manifest.tier("w17") is None


def test_nothing_there_a_file_and_a_foreign_folder_are_not_bundles(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for path, found in ((tmp_path / "absent", "nothing"), (file, "a file"), (tmp_path, "not a bundle")):
        with pytest.raises(BundleNotFoundError, match=found):
            open_bundle(path)


@pytest.mark.parametrize("name", ["weights.bin", "tiers/w16.onnx", "profile.json"])
def test_every_damaged_file_is_refused_by_name(tiny_bundle: Bundle, name: str) -> None:
    file = tiny_bundle.path / name
    content = file.read_bytes()

    file.write_bytes(content[:-1])
    with pytest.raises(BundleCorruptError, match=f"{name}: expected .* bytes, found"):
        open_bundle(tiny_bundle.path)

    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleCorruptError, match=f"{name}: expected sha256"):
        open_bundle(tiny_bundle.path)

    file.unlink()
    with pytest.raises(BundleCorruptError, match=f"{name}: .*missing"):
        open_bundle(tiny_bundle.path)

    file.write_bytes(content)
    open_bundle(tiny_bundle.path)


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/passwd", "tiers/../../x", "a\\b"])
def test_a_path_that_leaves_the_bundle_is_refused(tiny_bundle: Bundle, name: str) -> None:
    edit_manifest(tiny_bundle, lambda m: m["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    with pytest.raises(BundlePathError, match="leaves the bundle"):
        open_bundle(tiny_bundle.path)


def test_links_are_refused_even_to_the_right_bytes(tiny_bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    weights = tiny_bundle.weights_path
    weights.rename(outside)
    weights.symlink_to(outside)
    with pytest.raises(BundlePathError, match=r"weights\.bin: expected a plain file, found a link"):
        open_bundle(tiny_bundle.path)


def test_a_newer_format_is_refused_by_its_number(tiny_bundle: Bundle) -> None:
    edit_manifest(tiny_bundle, lambda m: m.update(schema_version="3.0"))
    with pytest.raises(BundleVersionError, match=r"format 3\.0 is newer than 2\.x"):
        open_bundle(tiny_bundle.path)


def range_of(tier: str, *, offset: int) -> dict[str, Any]:
    return {"name": "up", "kind": "raw", "offset": offset, "bytes": 4, "tiers": [tier]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("tiers"), "tiers: Field required"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs"),
        (lambda m: m["tiers"].reverse(), "from cheap to costly"),
        (lambda m: m["tiers"].append(m["tiers"][-1]), "tier names must be unique"),
        (lambda m: m["tiers"][0].update(graph="tiers/none.onnx"), "files without a digest"),
        (lambda m: m["tiers"][0]["quality"].update(low=0.9), "low <= value <= high"),
        (lambda m: m["tiers"][0]["quality"].update(value=float("nan")), "finite"),
        (lambda m: m["tiers"][0].update(layers=[0, 1]), "keeps 2 layers but has 1 widths"),
        (lambda m: m["features"]["categorical"].pop(), "does not make the signature's inputs"),
        (lambda m: m["files"].pop("profile.json"), r"no digest for profile\.json"),
        (
            lambda m: m["tiers"][0]["quality"].update(value=0.7051),
            r"manifest\.json: expected sha256 .* it was changed",
        ),
        (lambda m: m.pop("sha256"), r"manifest\.json: expected sha256 None"),
        (lambda m: m.update(layout="d"), "needs the machine that packed its weights"),
        (lambda m: m["weights"].append(range_of("w4", offset=2**40)), "ends beyond the"),
        (lambda m: m["weights"].append(range_of("w5", offset=0)), r"of unknown tiers \['w5'\]"),
    ],
)
def test_a_wrong_manifest_says_which_field(
    tiny_bundle: Bundle, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_manifest(tiny_bundle, change)
    with pytest.raises(BundleCorruptError, match=message):
        open_bundle(tiny_bundle.path)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00", "[" * 100_000])
def test_a_manifest_that_is_not_a_json_object_is_refused(tiny_bundle: Bundle, content: str) -> None:
    (tiny_bundle.path / MANIFEST_FILE).write_text(content)
    with pytest.raises(BundleCorruptError, match=r"manifest\.json"):
        open_bundle(tiny_bundle.path)


def test_a_failed_write_leaves_the_old_bundle_and_no_rest(tiny_bundle: Bundle) -> None:
    before = sorted(tiny_bundle.path.parent.iterdir())
    with pytest.raises(RuntimeError), new_bundle(tiny_bundle.path) as folder:
        (folder / "weights.bin").write_bytes(b"half")
        raise RuntimeError
    assert sorted(tiny_bundle.path.parent.iterdir()) == before
    open_bundle(tiny_bundle.path)


def test_an_unsealed_bundle_and_a_foreign_folder_are_never_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not sealed"), new_bundle(tmp_path / "bundle"):
        pass
    assert not (tmp_path / "bundle").exists()
    (tmp_path / "photos").mkdir()
    with pytest.raises(BundleError, match="found something else"), new_bundle(tmp_path / "photos"):
        pass


def test_a_profile_of_other_tiers_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    points = tiny_bundle.profile.tiers["w4"]
    foreign = LatencyProfile(
        machine=tiny_bundle.profile.machine, threads=1, runs=1, tiers={"w4": points, "w5": points}
    )
    fields = {name: getattr(tiny_bundle.manifest, name) for name in type(tiny_bundle.manifest).model_fields}
    fields.pop("files")
    with pytest.raises(BundleError, match="expected tiers"), new_bundle(tmp_path / "other") as folder:
        (folder / "weights.bin").write_bytes(b"")
        (folder / "tiers").mkdir()
        for tier in tiny_bundle.manifest.tiers:
            (folder / tier.graph).write_bytes(b"")
        seal(folder, foreign, **fields)
