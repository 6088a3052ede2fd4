"""Asking a teacher, once and before training, for its logits of all rows.

Shapes: R rows of the data set, B rows of a batch, C outputs a row.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.task import RegressionTask, Task
from elastier_trainer.teachers.logits import as_outputs, read_logits
from elastier_trainer.teachers.network import Answer, open_module, open_student
from elastier_trainer.teachers.onnx_file import open_onnx
from elastier_trainer.teachers.rows import TeacherRows
from elastier_trainer.teachers.source import (
    CheckpointTeacher,
    EnsembleTeacher,
    LogitsFile,
    ModuleTeacher,
    OnnxTeacher,
    TeacherSource,
    source_label,
)
from elastier_trainer.trained import TrainedModel, load_trained

BATCH_ROWS = 4096


def teacher_logits(
    source: TeacherSource, dataset: Dataset, *, data: Path, schema: Path, progress: Progress = no_progress
) -> Tensor:
    """A frozen teacher's logits of all rows, float32 [R, C], in the order of the data set.

    A regression's teacher answers in the label's own unit; what comes back is standardised as the task's
    outputs are.

    Args:
        source: The teacher; its paths are taken as they are.
        dataset: What the students learn from.
        data: The file that it came from: a teacher may read columns of it that no student sees.
        schema: The schema of that file.
        progress: Told after every batch.

    Raises:
        ConfigError: The source is not there, or made for another signature or task.
        CheckpointError: A run or weights that cannot be read.
        DataError: Rows without logits, logits of another shape or type, or that are not finite.
    """
    rows = TeacherRows(dataset=dataset, data=data, schema=schema)
    answers_RC = _ask(source, rows, progress)
    progress("teacher", 1, 1, source_label(source))
    return as_outputs(answers_RC, dataset.task)


def _ask(source: TeacherSource, rows: TeacherRows, progress: Progress) -> Tensor:
    task = rows.dataset.task
    match source:
        case LogitsFile():
            ids_R, sha256 = rows.dataset.row_ids_R, rows.dataset.sha256
            return read_logits(source.logits, ids_R, outputs=task.outputs, data_sha256=sha256)
        case CheckpointTeacher():
            return _ask_checkpoint(source, rows, progress)
        case ModuleTeacher():
            seen = rows.with_columns(teacher_columns=source.teacher_columns)
            answer = open_module(source, seen.features)
        case OnnxTeacher():
            seen = rows.with_columns(teacher_columns=source.teacher_columns)
            answer = open_onnx(source, seen.inputs)
        case EnsembleTeacher():
            return _ask_ensemble(source, rows, progress)
    return _in_batches(answer, [seen.inputs], rows, task, source_label(source), progress)


def _ask_ensemble(source: EnsembleTeacher, rows: TeacherRows, progress: Progress) -> Tensor:
    members = len(source.ensemble)
    mean_RC = torch.zeros(len(rows.dataset.row_ids_R), rows.dataset.task.outputs, dtype=torch.float64)
    for index, (member, share) in enumerate(zip(source.ensemble, source.shares, strict=True)):

        def told(task: str, done: float, total: float, detail: str, index: int = index) -> None:
            progress(task, index + done / total, members, f"{index + 1} of {members}: {detail}")

        mean_RC += share * _ask(member, rows, told).double()
    return mean_RC.float()


def _ask_checkpoint(source: CheckpointTeacher, rows: TeacherRows, progress: Progress) -> Tensor:
    trained, label = load_trained(source.checkpoint), source_label(source)
    order = _order_of_outputs(trained, rows.dataset, label)
    answer, parts = open_student(source, trained), rows.encoded(trained.record.features)
    answers_RC = _in_batches(answer, parts, rows, trained.task, label, progress)
    if isinstance(trained.task, RegressionTask):
        return answers_RC * trained.task.label_std + trained.task.label_mean
    return answers_RC[:, order]


def _order_of_outputs(trained: TrainedModel, dataset: Dataset, label: str) -> list[int]:
    """Which of its outputs stands for each of the data set's; classes are found by name."""
    if trained.task.name != dataset.task.name:
        raise ConfigError(
            f"{label}: expected a model of a {dataset.task.name} task, got one of a {trained.task.name} task"
        )
    own = trained.record.task.classes
    if set(own) != set(dataset.classes):
        raise ConfigError(
            f"{label}: expected the classes of the data, {list(dataset.classes)}, got {list(own)}"
        )
    return [own.index(name) for name in dataset.classes] if own else list(range(dataset.task.outputs))


def _in_batches(
    answer: Answer,
    parts: Iterable[Mapping[str, Tensor]],
    rows: TeacherRows,
    task: Task,
    label: str,
    progress: Progress,
) -> Tensor:
    answers, done, total = [torch.empty(0, task.outputs)], 0, len(rows.dataset.row_ids_R)
    with torch.no_grad():
        for batch in _batches(parts):
            size = len(next(iter(batch.values())))
            answers.append(_checked(answer(batch), size, done, task, label))
            done += size
            progress("teacher", done, total, label)
    return torch.cat(answers)


def _batches(parts: Iterable[Mapping[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    for part in parts:
        for start in range(0, len(next(iter(part.values()))), BATCH_ROWS):
            yield {name: tensor[start : start + BATCH_ROWS] for name, tensor in part.items()}


def _checked(answer: Any, rows: int, start: int, task: Task, label: str) -> Tensor:
    if not isinstance(answer, Tensor) or not answer.is_floating_point():
        found = str(answer.dtype) if isinstance(answer, Tensor) else type(answer).__name__
        raise DataError(f"{label}: expected logits as a tensor of floating-point numbers, got {found}")
    answer_BC = answer.unsqueeze(1) if answer.ndim == 1 else answer
    if answer_BC.shape != (rows, task.outputs):
        raise DataError(
            f"{label}: expected logits [{rows}, {task.outputs}], one per output of a {task.name} task, "
            f"got {list(answer.shape)}"
        )
    answer_BC = answer_BC.cpu().float()
    finite_B = torch.isfinite(answer_BC).all(dim=1)
    if not bool(finite_B.all()):
        row = int(finite_B.int().argmin())
        raise DataError(
            f"{label}: expected finite logits, got {answer_BC[row].tolist()} at row {start + row} "
            f"({int((~finite_B).sum())} such rows in a batch of {rows})"
        )
    return answer_BC
