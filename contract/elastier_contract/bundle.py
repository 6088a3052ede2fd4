"""Bundles on disk: opening with every check, writing all or nothing.

A bundle is a folder with `manifest.json`, `weights.bin`, `tiers/<name>.onnx` and `profile.json`. It is data
from outside: nothing in it is trusted before its digest was compared, and nothing in it is ever executed or
unpickled.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from elastier_contract import atomic
from elastier_contract.errors import (
    BundleCorruptError,
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleVersionError,
)
from elastier_contract.layout import WEIGHTS_FILE
from elastier_contract.manifest import SCHEMA_MAJOR, FileDigest, Manifest
from elastier_contract.profile import LatencyProfile
from elastier_contract.tier import Tier

MANIFEST_FILE = "manifest.json"
PROFILE_FILE = "profile.json"
MAX_JSON_BYTES = 16 * 2**20
SEALED = ("schema_version", "files", "sha256")
"""The manifest's fields that `seal` makes."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle."""

    path: Path
    manifest: Manifest
    profile: LatencyProfile

    @property
    def weights_path(self) -> Path:
        """The weights file that all tiers share."""
        return self.path / WEIGHTS_FILE

    def graph_path(self, tier: Tier) -> Path:
        """The ONNX graph of a tier."""
        return self.path / tier.graph


def open_bundle(path: Path) -> Bundle:
    """Open the bundle in the folder `path`, and compare the digest of every file.

    Raises:
        BundleNotFoundError: No folder, or no manifest in it.
        BundleVersionError: Written in a newer format.
        BundlePathError: A path in the manifest leaves the folder, or a file is a link.
        BundleCorruptError: A file is missing, or not what the manifest says.
    """
    manifest, document = _read_manifest(path)
    for name, digest in manifest.files.items():
        _verify_file(path, name, digest)
    bundle = Bundle(path=path, manifest=manifest, profile=_read_profile(path, manifest))
    _check_manifest_digest(manifest, document)
    return bundle


@contextmanager
def new_bundle(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill and `seal`; on a clean exit it takes the place of `path`.

    On an error inside the block, or a kill, what was at `path` stays as it was.
    """
    if path.exists() and not (path / MANIFEST_FILE).is_file():
        raise BundleError(
            f"expected a bundle or nothing at {path}, found something else: it is not overwritten"
        )
    with atomic.folder(path) as staging:
        yield staging
        if not (staging / MANIFEST_FILE).is_file():
            raise BundleError(f"the bundle for {path} was not sealed: it has no {MANIFEST_FILE}")


def seal(folder: Path, profile: LatencyProfile, **fields: Any) -> Manifest:
    """Write profile and manifest into a folder that holds weights and graphs; digests are taken here.

    Args:
        folder: The folder that `new_bundle` gave.
        profile: Latency of every tier.
        fields: The manifest's fields, all but those in `SEALED`.

    Raises:
        BundleError: The fields do not make a valid manifest.
    """
    (folder / PROFILE_FILE).write_text(profile.model_dump_json(indent=1))
    files = {
        file.relative_to(folder).as_posix(): digest_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST_FILE
    }
    try:
        manifest = Manifest(files=files, **fields)
        digest = digest_manifest(json.loads(manifest.model_dump_json()))
        manifest = manifest.model_copy(update={"sha256": digest})
    except ValidationError as error:
        raise BundleError(f"not a valid manifest: {_first_error(error)}") from error
    _check_profile(profile, manifest)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1))
    return manifest


@contextmanager
def held_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle in a folder of links beside it: it stays what it is though another takes its place meanwhile.

    Raises:
        BundleError: As `open_bundle`, or it was replaced at that very moment.
    """
    manifest, _ = _read_manifest(path)
    with atomic.scratch(path) as folder:
        _link_files(path, (MANIFEST_FILE, *manifest.files), folder)
        yield open_bundle(folder)


def reseal_bundle(path: Path, profile: LatencyProfile) -> None:
    """Replace the profile of a bundle, all or nothing; its other files are not copied where links can be made.

    Raises:
        BundleError: No sound bundle there, or the profile is of other tiers.
    """
    with held_bundle(path) as bundle, new_bundle(path) as folder:
        _link_files(bundle.path, bundle.manifest.files.keys() - {PROFILE_FILE}, folder)
        seal(folder, profile, **unsealed(bundle.manifest))


def unsealed(manifest: Manifest) -> dict[str, Any]:
    """A manifest's fields as `seal` takes them."""
    return {name: getattr(manifest, name) for name in Manifest.model_fields if name not in SEALED}


def _link_files(source: Path, names: Iterable[str], folder: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _link(_plain_file(source, name), folder / name)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def digest_file(path: Path) -> FileDigest:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(sha256=digest, bytes=path.stat().st_size)


def _read_json(path: Path) -> Any:
    if path.is_symlink():
        raise BundlePathError(f"{path.name}: expected a plain file, found a link")
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise BundleCorruptError(f"{path.name}: expected at most {MAX_JSON_BYTES} bytes, found {size}")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BundleCorruptError(f"{path.name}: not valid JSON: {error}") from error


def _read_manifest(path: Path) -> tuple[Manifest, Mapping[str, Any]]:
    """The manifest of the bundle at `path`, and the document that it was read from."""
    if not path.is_dir():
        raise BundleNotFoundError(
            f"expected a bundle folder at {path}, found {'a file' if path.exists() else 'nothing'}"
        )
    if not (path / MANIFEST_FILE).is_file():
        raise BundleNotFoundError(f"expected {MANIFEST_FILE} in {path}, found none: not a bundle")
    document = _read_json(path / MANIFEST_FILE)
    return _as_manifest(document), document


def _as_manifest(content: Any) -> Manifest:
    version = content.get("schema_version") if isinstance(content, dict) else None
    major = str(version).partition(".")[0]
    if major.isdecimal() and int(major) > SCHEMA_MAJOR:
        raise BundleVersionError(
            f"{MANIFEST_FILE}: format {version} is newer than {SCHEMA_MAJOR}.x, which this version reads"
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise BundleCorruptError(f"{MANIFEST_FILE}: {_first_error(error)}") from error
    return manifest


def digest_manifest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's document without its `sha256`: compact JSON, keys sorted, as UTF-8."""
    said = {key: value for key, value in document.items() if key != "sha256"}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_manifest_digest(manifest: Manifest, document: Mapping[str, Any]) -> None:
    if manifest.sha256 is None and manifest.schema_version.startswith("1."):
        return
    found = digest_manifest(document)
    if manifest.sha256 != found:
        raise BundleCorruptError(
            f"{MANIFEST_FILE}: expected sha256 {manifest.sha256}, found {found}: it was changed"
        )


def _read_profile(folder: Path, manifest: Manifest) -> LatencyProfile:
    if PROFILE_FILE not in manifest.files:
        raise BundleCorruptError(f"{MANIFEST_FILE}: no digest for {PROFILE_FILE}")
    try:
        profile = LatencyProfile.model_validate_json(json.dumps(_read_json(folder / PROFILE_FILE)))
    except ValidationError as error:
        raise BundleCorruptError(f"{PROFILE_FILE}: {_first_error(error)}") from error
    _check_profile(profile, manifest)
    return profile


def _check_profile(profile: LatencyProfile, manifest: Manifest) -> None:
    expected = {tier.name for tier in manifest.tiers}
    if set(profile.tiers) != expected:
        raise BundleCorruptError(
            f"{PROFILE_FILE}: expected tiers {sorted(expected)}, got {sorted(profile.tiers)}"
        )


def _plain_file(folder: Path, name: str) -> Path:
    """Where a file that the manifest names lies, if that is a plain file inside the bundle."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
        raise BundlePathError(f"{MANIFEST_FILE}: path {name!r} leaves the bundle")
    path = folder
    for part in relative.parts:
        path = path / part
        if path.is_symlink():
            raise BundlePathError(f"{name}: expected a plain file, found a link")
    if not path.is_file():
        raise BundleCorruptError(f"{name}: the manifest names it, but it is missing")
    return path


def _verify_file(folder: Path, name: str, digest: FileDigest) -> None:
    path = _plain_file(folder, name)
    size = path.stat().st_size
    if size != digest.bytes:
        raise BundleCorruptError(f"{name}: expected {digest.bytes} bytes, found {size}")
    found = digest_file(path)
    if found != digest:
        raise BundleCorruptError(
            f"{name}: expected sha256 {digest.sha256}, found {found.sha256}: it was changed"
        )


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{where}: {first['msg']}"
