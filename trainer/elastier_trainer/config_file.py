"""The config of a training run as a file: YAML in and out, flags on top of it.

Paths in a file are relative to that file, so that a folder with its data can be moved.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from elastier_trainer.config import TrainConfig
from elastier_trainer.document import findings, read_yaml
from elastier_trainer.errors import ConfigError
from elastier_trainer.teachers.source import dump_source, resolve_document

PATHS = ("data", "schema")
_WITHOUT_EFFECT = (*PATHS, "teacher", "checkpoint_every", "tensorboard")
"""Keys that do not shape the weights: the files themselves are told by their digests."""

_ADAPTER: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a YAML file and put `overrides` on top.

    Args:
        path: The file, or None for defaults alone.
        overrides: Key path, such as `objective.alpha`, → value; paths are relative to the working folder.

    Raises:
        ConfigError: No such file, not YAML, an unknown key or a wrong value; names the key path.
    """
    document = {} if path is None else read_yaml(path)
    if path is not None:
        document = resolve_paths(document, path.parent)
    source = "the command line" if path is None else str(path)
    for key_path, value in (overrides or {}).items():
        _put(document, key_path, value, source)
    return parse_config(document, source=source)


def parse_config(document: Mapping[str, Any], *, source: str) -> TrainConfig:
    """Check a document against `TrainConfig`; `source` names it in errors.

    Raises:
        ConfigError: An unknown key or a wrong value; says key path, expectation and value of each.
    """
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(findings(error))) from error


def plain_config(config: TrainConfig) -> dict[str, Any]:
    """The config as plain values, paths as they are."""
    document: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    return document


def dump_config(config: TrainConfig, *, relative_to: Path) -> dict[str, Any]:
    """The config as plain values, with paths relative to a folder; `parse_config` reads it back."""
    document = plain_config(config)
    for key in PATHS:
        document[key] = os.path.relpath(getattr(config, key), relative_to)
    if config.teacher is not None:
        document["teacher"] = dump_source(config.teacher, relative_to=relative_to)
    return document


def resolve_paths(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config document whose paths, relative to `folder`, no longer depend on it."""
    resolved = {
        key: os.path.normpath(folder / value) if key in PATHS and isinstance(value, str) else value
        for key, value in document.items()
    }
    if resolved.get("teacher") is not None:
        resolved["teacher"] = resolve_document(resolved["teacher"], folder)
    return resolved


def yaml_text(document: Mapping[str, Any]) -> str:
    """A config document as YAML, keys in their declared order."""
    return yaml.safe_dump(dict(document), sort_keys=False)


def fingerprint(config: TrainConfig) -> dict[str, str]:
    """Key path → value of all that shapes the weights: not the places of files, nor what is written and when."""
    document = plain_config(config)
    flat: dict[str, str] = {}
    for key, value in document.items():
        if key in _WITHOUT_EFFECT:
            continue
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": json.dumps(inner_value) for inner, inner_value in value.items()}
        else:
            flat[key] = json.dumps(value)
    return flat


def _put(document: dict[str, Any], key_path: str, value: Any, source: str) -> None:
    *parents, key = key_path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise ConfigError(f"{source}: {parent}: expected a mapping, got {document!r}")
    document[key] = value
