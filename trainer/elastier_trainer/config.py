"""What a training run is told: a YAML file, flags on top of it, and every value checked.

Paths in a file are relative to that file, so that a folder with its data can be moved.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from elastier_trainer.checked import STRICT
from elastier_trainer.errors import ConfigError
from elastier_trainer.nesting import Widths
from elastier_trainer.objective import ObjectiveConfig
from elastier_trainer.optimizer import OptimizerConfig

PATHS = ("data", "schema", "teacher")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The TA: a ranker of `blocks` residual blocks with `hidden` units each."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model_dim: PositiveInt = 128
    blocks: PositiveInt = 2
    hidden: PositiveInt = 1024


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One MatTA run: data, model, objective, optimizer and loop."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    data: Path
    schema: Path
    teacher: Path | None = None
    """File of the teacher's logits by row id."""
    labelled_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training rows whose labels are used; the rest has only the teacher's logits."""
    ladder: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (8, 16, 32, 64, 128, 256, 512, 1024)
    """Hidden units per block of every trained sub-model, ascending; the last is the TA."""
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    steps: PositiveInt = 1000
    labelled_rows: PositiveInt = 256
    """Rows with labels in a batch."""
    unlabelled_rows: Annotated[int, Field(ge=0)] = 0
    """Rows without labels in a batch."""
    eval_every: PositiveInt = 200
    checkpoint_every: PositiveInt = 200
    patience: PositiveInt | None = None
    """Evaluations without a better AUC before the run stops; null never stops early."""
    watch_width: PositiveInt | None = None
    """The width whose validation AUC chooses the best weights; null takes the mean over the ladder."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: PositiveInt = 2

    def __post_init__(self) -> None:
        """Refuse values that do not fit each other.

        Raises:
            ValueError: Says which keys contradict each other.
        """
        if list(self.ladder) != sorted(set(self.ladder)):
            raise ValueError(f"ladder: expected ascending widths, got {list(self.ladder)}")
        if self.ladder[-1] != self.model.hidden:
            raise ValueError(
                f"ladder: expected model.hidden = {self.model.hidden} (the TA) last, got {self.ladder[-1]}"
            )
        if self.watch_width is not None and self.watch_width not in self.ladder:
            raise ValueError(
                f"watch_width: expected a width of the ladder {list(self.ladder)}, got {self.watch_width}"
            )
        if self.teacher is None and self.objective.alpha > 0:
            raise ValueError(
                f"teacher: expected a file of logits, since objective.alpha is {self.objective.alpha}; "
                "set objective.alpha: 0 to learn from labels alone"
            )

    @property
    def widths(self) -> tuple[Widths, ...]:
        """The ladder as hidden units per block, ascending."""
        return tuple((width,) * self.model.blocks for width in self.ladder)


_ADAPTER: TypeAdapter[TrainConfig] = TypeAdapter(TrainConfig)


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a YAML file and put `overrides` on top.

    Args:
        path: The file, or None for defaults alone.
        overrides: Key path, such as `objective.alpha`, → value; paths are relative to the working folder.

    Raises:
        ConfigError: No such file, not YAML, an unknown key or a wrong value; names the key path.
    """
    document = {} if path is None else _read_yaml(path)
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
        raise ConfigError(f"{source}: " + "; ".join(_findings(error))) from error


def dump_config(config: TrainConfig, *, relative_to: Path) -> dict[str, Any]:
    """The config as plain values, with paths relative to a folder; `parse_config` reads it back."""
    document: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    for key in PATHS:
        path = getattr(config, key)
        if path is not None:
            document[key] = os.path.relpath(path, relative_to)
    return document


def resolve_paths(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A config document whose paths, relative to `folder`, no longer depend on it."""
    return {
        key: os.path.normpath(folder / value) if key in PATHS and isinstance(value, str) else value
        for key, value in document.items()
    }


def yaml_text(document: Mapping[str, Any]) -> str:
    """A config document as YAML, keys in their declared order."""
    return yaml.safe_dump(dict(document), sort_keys=False)


def fingerprint(config: TrainConfig) -> dict[str, str]:
    """Key path → value of all that shapes the weights: not the places of files, nor the rhythm of saving."""
    document: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    flat: dict[str, str] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": json.dumps(inner_value) for inner, inner_value in value.items()}
        elif key not in (*PATHS, "checkpoint_every"):
            flat[key] = json.dumps(value)
    return flat


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a YAML file, cannot read it: {error.strerror or error}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got a {type(document).__name__}")
    return document


def _put(document: dict[str, Any], key_path: str, value: Any, source: str) -> None:
    *parents, key = key_path.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
        if not isinstance(document, dict):
            raise ConfigError(f"{source}: {parent}: expected a mapping, got {document!r}")
    document[key] = value


def _findings(error: ValidationError) -> list[str]:
    findings = []
    for finding in error.errors(include_url=False):
        where = ".".join(str(part) for part in finding["loc"])
        match finding["type"]:
            case "unexpected_keyword_argument":
                findings.append(f"{where}: unknown key")
            case "missing":
                findings.append(f"{where}: expected a value, got none")
            case "value_error":
                message = finding["msg"].removeprefix("Value error, ")
                findings.append(f"{where}: {message}" if where else message)
            case _:
                findings.append(f"{where or 'top level'}: {finding['msg']}, got {finding['input']!r}")
    return findings
