"""Evaluations as JSON lines: each is written at once, so that a stopped search goes on where it was.

The first line says of what they are. A search that is repeated asks for the same sub-models in the same order
and finds their qualities here, until it comes to one that is new.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from elastier_contract.model import FrozenModel
from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.search import Evaluate
from elastier_trainer.submodel import Submodel

EVALUATIONS_JSONL = "evaluations.jsonl"


class Evaluation(FrozenModel):
    """One line."""

    widths: tuple[int, ...]
    layers: tuple[int, ...]
    model_dim: int
    quality: float

    @property
    def submodel(self) -> Submodel:
        """What was evaluated."""
        return Submodel(widths=self.widths, layers=self.layers, model_dim=self.model_dim)


class KeptEvaluations:
    """An `Evaluate` that asks another one only for what is not in its file."""

    def __init__(self, path: Path, known: dict[Submodel, float], evaluate: Evaluate) -> None:
        self._path = path
        self._known = known
        self._evaluate = evaluate

    def __call__(self, submodels: Sequence[Submodel]) -> list[float]:
        """Quality of each; new ones are on disk before this returns."""
        new = [submodel for submodel in submodels if submodel not in self._known]
        if new:
            qualities = self._evaluate(new)
            lines = [_line(submodel, quality) for submodel, quality in zip(new, qualities, strict=True)]
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
            self._known.update(zip(new, qualities, strict=True))
        return [self._known[submodel] for submodel in submodels]


def keep_evaluations(path: Path, subject: Mapping[str, Any], evaluate: Evaluate) -> KeptEvaluations:
    """Keep what `evaluate` says in a file; one that is there already is taken up.

    Args:
        path: The file.
        subject: What is evaluated and on which rows, as JSON values.
        evaluate: Asked for what the file does not know.

    Raises:
        ConfigError: The file is about something else, or damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _whole_lines(path)
    if not lines:
        path.write_bytes(json.dumps(subject).encode() + b"\n")
        return KeptEvaluations(path, {}, evaluate)
    try:
        about = TypeAdapter(dict[str, Any]).validate_json(lines[0])
        known = [Evaluation.model_validate_json(line) for line in lines[1:]]
    except ValidationError as error:
        raise ConfigError(
            f"{path}: expected evaluations as JSON lines, got another thing: {error}"
        ) from error
    if about != dict(subject):
        changed = sorted(key for key in {*about, *subject} if about.get(key) != subject.get(key))
        raise ConfigError(
            f"{path}: expected evaluations of this run with this seed, found others "
            f"({', '.join(changed)} differ); choose another folder, or remove the file"
        )
    return KeptEvaluations(path, {entry.submodel: entry.quality for entry in known}, evaluate)


def _whole_lines(path: Path) -> list[bytes]:
    """The file's lines; what follows the last line break, of a write that was cut off, is removed."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    return whole.splitlines()


def _line(submodel: Submodel, quality: float) -> bytes:
    entry = Evaluation(
        widths=submodel.widths, layers=submodel.layers, model_dim=submodel.model_dim, quality=quality
    )
    return entry.model_dump_json().encode() + b"\n"
