"""The quality of ONNX files by themselves, on rows whose labels are known. Needs no torch.

Shapes: R rows, C outputs a row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from elastier_contract.manifest import Task
from elastier_contract.signature import Signature
from elastier_contract.tier import Quality
from elastier_exporter.pack_file import PackFile
from elastier_exporter.session import run_rows
from elastier_trainer.errors import ConfigError
from elastier_trainer.metrics import Interval, accuracy_with_interval, auc_with_interval, r2_with_interval

LABEL = "label"
"""The labels' name in a labelled file."""

Arrays = Mapping[str, NDArray[Any]]


def read_labelled(path: Path, signature: Signature) -> Arrays:
    """The arrays of a labelled file.

    Raises:
        ConfigError: No such file, or not the inputs and labels of as many rows.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: expected an .npz file of arrays, cannot read it: {error}") from error
    expected = {spec.name: spec for spec in signature.inputs}
    if set(arrays) != {*expected, LABEL}:
        raise ConfigError(f"{path}: expected arrays {sorted({*expected, LABEL})}, got {sorted(arrays)}")
    rows = len(arrays[LABEL])
    for name, spec in expected.items():
        if arrays[name].shape != (rows, *spec.shape[1:]) or arrays[name].dtype != spec.dtype:
            raise ConfigError(
                f"{path}: expected {name} as {spec.dtype} {[rows, *spec.shape[1:]]}, got {arrays[name].dtype} "
                f"{list(arrays[name].shape)}"
            )
    return arrays


def judge(
    spec: PackFile, session: ort.InferenceSession, signature: Signature, labelled: Arrays | None
) -> Quality:
    """Measure a tier's quality on the labelled file."""
    if labelled is None:
        raise ConfigError("expected a labelled file to measure quality on, got none")
    inputs = {input_.name: labelled[input_.name] for input_ in signature.inputs}
    outputs_RC = run_rows(session, inputs, signature.outputs[0].name).reshape(len(labelled[LABEL]), -1)
    labels_R = labelled[LABEL]
    metric, chance, found = _measured(spec.task, outputs_RC, labels_R)
    return Quality(
        metric=metric,
        value=found.value,
        low=found.low,
        high=found.high,
        chance=chance,
        rows=found.rows,
        split=spec.split,
    )


def _measured(task: Task, outputs_RC: NDArray[Any], labels_R: NDArray[Any]) -> tuple[str, float, Interval]:
    """Metric, what a useless answer has of it, and what was found."""
    match task:
        case "binary":
            return "auc", 0.5, auc_with_interval(outputs_RC[:, -1], labels_R)
        case "multiclass":
            _, counts = np.unique(labels_R, return_counts=True)
            found = accuracy_with_interval(outputs_RC.argmax(axis=1), labels_R)
            return "accuracy", float(counts.max() / counts.sum()), found
        case "regression":
            return "r2", 0.0, r2_with_interval(outputs_RC[:, 0], labels_R)
