"""Where a teacher's logits come from, as a training config says it.

A file of logits, a trained run, a torch module, an ONNX file, or an ensemble of these; a bare path is a file
of logits. Paths in a config file are relative to that file.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from elastier_trainer.checked import STRICT, Positive
from elastier_trainer.errors import ConfigError

KINDS = ("logits", "checkpoint", "module", "onnx", "ensemble")
"""The key that says which kind a source is."""
_PATHS = ("logits", "checkpoint", "onnx", "weights")


@dataclass(frozen=True, kw_only=True)
class LogitsFile:
    """Logits by row id, made before."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    logits: Path
    """Parquet or CSV file that `read_logits` reads."""


@dataclass(frozen=True, kw_only=True)
class CheckpointTeacher:
    """A network that `elastier train` trained, on this data or on more."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    checkpoint: Path
    """The run's folder."""
    student: str | None = None
    """Name of one of its students; null takes its TA."""


@dataclass(frozen=True, kw_only=True)
class ModuleTeacher:
    """A torch module by import path; importing it runs its code."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    module: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
    """`package.module:factory`; the factory takes a `FeatureSchema`, what it returns is called with the inputs."""
    weights: Path | None = None
    """Its `state_dict` in safetensors; null takes the module as the factory made it."""
    teacher_columns: bool = True
    """Whether it reads the schema's teacher-only columns too."""

    def __post_init__(self) -> None:
        """Refuse weights in a format that can hold code.

        Raises:
            ValueError: Says the file.
        """
        if self.weights is not None and self.weights.suffix != ".safetensors":
            raise ValueError(f"weights: expected a file ending in .safetensors, got {self.weights}")


@dataclass(frozen=True, kw_only=True)
class OnnxTeacher:
    """An ONNX file with inputs `categorical` and `numeric`, or one of them."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    onnx: Path
    teacher_columns: bool = True
    """Whether it reads the schema's teacher-only columns too."""


@dataclass(frozen=True, kw_only=True)
class EnsembleTeacher:
    """The weighted mean of its members' logits.

    Of logits and not of softened probabilities, because a mean of logits knows no temperature: softened by
    any tau it is the normalised geometric mean of the members softened by that tau, while a mean of
    probabilities is another target for every tau. So logits are computed once, `objective.tau` stays free,
    and it is right for regression too.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    ensemble: tuple["TeacherSource", ...]
    weights: tuple[Positive, ...] | None = None
    """One per member, scaled to sum 1; null weighs all alike."""

    def __post_init__(self) -> None:
        """Refuse no members, and weights that are not one per member.

        Raises:
            ValueError: Says both numbers.
        """
        if not self.ensemble:
            raise ValueError("expected at least one member, got none")
        if self.weights is not None and len(self.weights) != len(self.ensemble):
            raise ValueError(
                f"weights: expected one per member, {len(self.ensemble)}, got {len(self.weights)}"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Each member's weight; they sum to 1."""
        weights = self.weights or (1.0,) * len(self.ensemble)
        return tuple(weight / sum(weights) for weight in weights)


def _with_kind(value: Any) -> Any:
    return {"logits": value} if isinstance(value, str | Path) else value


def _kind(value: Any) -> str | None:
    keys = value if isinstance(value, Mapping) else vars(value) if hasattr(value, "__dict__") else ()
    kinds = [kind for kind in KINDS if kind in keys]
    return kinds[0] if len(kinds) == 1 else None


TeacherSource = Annotated[
    Annotated[LogitsFile, Tag("logits")]
    | Annotated[CheckpointTeacher, Tag("checkpoint")]
    | Annotated[ModuleTeacher, Tag("module")]
    | Annotated[OnnxTeacher, Tag("onnx")]
    | Annotated[EnsembleTeacher, Tag("ensemble")],
    Discriminator(
        _kind,
        custom_error_type="teacher_kind",
        custom_error_message=f"expected a path, or a mapping with one of the keys {', '.join(KINDS)}",
    ),
    BeforeValidator(_with_kind),
]
"""A teacher in a config: one of the kinds above, told apart by its first key."""

_ADAPTER: TypeAdapter[TeacherSource] = TypeAdapter(TeacherSource)


def parse_source(document: Any, *, where: str = "teacher") -> TeacherSource:
    """A teacher from plain values, such as a YAML file's.

    Raises:
        ConfigError: Names each wrong key, what was expected and what came; `where` begins the message.
    """
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        findings = error.errors(include_url=False)
        raise ConfigError("; ".join(_finding(finding, where) for finding in findings)) from error


def resolve_document(document: Any, folder: Path) -> Any:
    """A source as plain values, whose paths, relative to `folder`, no longer depend on it.

    What is no path is left as it is, for `parse_source` or the config around it to judge.
    """
    return _map_paths(document, lambda path: os.path.normpath(folder / path))


def resolve_source(source: TeacherSource, folder: Path) -> TeacherSource:
    """The source whose paths, relative to `folder`, no longer depend on it."""
    return parse_source(resolve_document(_plain(source), folder))


def dump_source(source: TeacherSource, *, relative_to: Path) -> dict[str, Any]:
    """The source as plain values with paths relative to a folder; `resolve_document` goes back."""
    dumped: dict[str, Any] = _map_paths(_plain(source), lambda path: os.path.relpath(path, relative_to))
    return dumped


def source_label(source: TeacherSource) -> str:
    """The source in a few words, for progress and errors."""
    match source:
        case LogitsFile():
            return f"logits {source.logits}"
        case CheckpointTeacher():
            return f"checkpoint {source.checkpoint} ({source.student or 'its TA'})"
        case ModuleTeacher():
            return f"module {source.module}"
        case OnnxTeacher():
            return f"onnx {source.onnx}"
        case EnsembleTeacher():
            return f"ensemble of {len(source.ensemble)}"


def _finding(finding: ErrorDetails, where: str) -> str:
    place = ".".join(str(part) for part in (where, *finding["loc"]))
    if finding["type"] == "value_error":
        return f"{place}: {finding['msg'].removeprefix('Value error, ')}"
    return f"{place}: {finding['msg']}, got {finding['input']!r}"


def _plain(source: TeacherSource) -> dict[str, Any]:
    plain: dict[str, Any] = _ADAPTER.dump_python(source, mode="json")
    return plain


def _map_paths(document: Any, change: Callable[[str | Path], str]) -> Any:
    if isinstance(document, str | Path):
        return change(document)
    if not isinstance(document, Mapping):
        return document
    changed = dict(document)
    for key in _PATHS:
        if isinstance(document.get(key), str | Path):
            changed[key] = change(document[key])
    if isinstance(document.get("ensemble"), list | tuple):
        changed["ensemble"] = [_map_paths(member, change) for member in document["ensemble"]]
    return changed
