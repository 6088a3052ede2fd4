"""What a teacher's logits depend on, as one digest, by which a run knows its teacher again."""

import hashlib
import json
from pathlib import Path
from typing import Any

from elastier_trainer.errors import ConfigError
from elastier_trainer.teachers.network import module_file
from elastier_trainer.teachers.onnx_file import external_files
from elastier_trainer.teachers.source import (
    CheckpointTeacher,
    EnsembleTeacher,
    LogitsFile,
    ModuleTeacher,
    OnnxTeacher,
    TeacherSource,
)
from elastier_trainer.trained import MODEL_FOLDER, MODEL_JSON, MODEL_WEIGHTS


def source_digest(source: TeacherSource) -> str:
    """SHA-256 over the bytes of all files a teacher depends on, and its settings; their places do not count.

    Of a module's code it covers the file that holds the factory, not what that file imports.

    Raises:
        ConfigError: A file that cannot be read, or a module that cannot be imported.
    """
    return hashlib.sha256(json.dumps(_identity(source)).encode()).hexdigest()


def _identity(source: TeacherSource) -> list[Any]:
    match source:
        case LogitsFile():
            return ["logits", _sha256(source.logits)]
        case CheckpointTeacher():
            folder = source.checkpoint / MODEL_FOLDER
            return [
                "checkpoint",
                source.student,
                *map(_sha256, (folder / MODEL_JSON, folder / MODEL_WEIGHTS)),
            ]
        case ModuleTeacher():
            weights = None if source.weights is None else _sha256(source.weights)
            return ["module", source.module, source.teacher_columns, _sha256(module_file(source)), weights]
        case OnnxTeacher():
            files = [source.onnx, *external_files(source.onnx)]
            return ["onnx", source.teacher_columns, *map(_sha256, files)]
        case EnsembleTeacher():
            return ["ensemble", list(source.shares), *map(_identity, source.ensemble)]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"teacher: {path}: cannot read it: {error.strerror or error}") from error
