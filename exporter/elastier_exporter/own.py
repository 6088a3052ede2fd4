"""A bundle of a nested model that you trained yourself, without a run's folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elastier_contract.bundle import Bundle
from elastier_contract.layout import DEFAULT_LAYOUT, Layout
from elastier_contract.manifest import OUTPUT, Provenance
from elastier_contract.progress import Progress, no_progress
from elastier_contract.signature import NUMPY_DTYPES, Datatype, Signature, TensorSpec
from elastier_exporter.bundling import (
    Material,
    Validation,
    check_name,
    make_bundle,
)
from elastier_exporter.errors import SignatureError
from elastier_exporter.profiling import Measuring
from elastier_trainer.submodel import Inputs, Ladder, NestedModel
from elastier_trainer.task import Task
from elastier_trainer.trained import TaskRecord

_PROBE_ROWS = 256


def export_model(
    model: NestedModel,
    ladder: Ladder,
    out: Path,
    *,
    inputs: Inputs,
    labels_R: Tensor,
    task: Task,
    name: str,
    version: str = "1",
    classes: Sequence[str] = (),
    limits: Mapping[str, Sequence[int]] | None = None,
    layout: Layout = DEFAULT_LAYOUT,
    measuring: Measuring | None = None,
    provenance: Provenance | None = None,
    progress: Progress = no_progress,
) -> Bundle:
    """Export the tiers of a ladder into the bundle `out`, which the server answers from at `/v2/models/NAME/infer`.

    Args:
        model: The nested model, such as `nest` makes one.
        ladder: Its tiers, the TA last.
        out: The bundle's folder; an older bundle there is replaced at the end.
        inputs: Input name → rows [R, ...] that training did not fit: each tier's quality is measured on them.
        labels_R: Their labels.
        task: What was learned.
        name: The model's name.
        version: The model's version.
        classes: Names of the classes of a multiclass task, in the order of the outputs; their numbers by default.
        limits: Input name → exclusive upper bound of each column, for integer ids.
        layout: How weights lie in the bundle.
        measuring: How tiers are timed.
        provenance: Where the model comes from, if there is something to tell.
        progress: Told after every tier and every round of timing.

    Raises:
        NamingError: A name or version that no bundle can carry.
        SignatureError: Inputs of a kind that no bundle can carry.
        GraphError: Torch cannot export the model.
        ParityError: A tier does not answer as torch does.
    """
    check_name(name, version)
    signature = _signature(inputs, limits or {}, task.outputs)
    probe = signature.sample_inputs(_PROBE_ROWS, np.random.default_rng(0))
    material = Material(
        model=_evaluating(model),
        ladder=ladder,
        task=task,
        record=TaskRecord.of(task, classes),
        signature=signature,
        features=None,
        validation=Validation(inputs=inputs, labels_R=labels_R),
        probes=({name: torch.from_numpy(array) for name, array in probe.items()},),
        provenance=provenance or Provenance(command="", seed=0, data_sha256="", versions={}),
    )
    return make_bundle(
        material,
        out,
        name=name,
        model_version=version,
        layout=layout,
        measuring=measuring or Measuring(),
        progress=progress,
    )


def _signature(inputs: Inputs, limits: Mapping[str, Sequence[int]], outputs: int) -> Signature:
    specs = []
    for name, tensor in inputs.items():
        bounds = limits.get(name)
        specs.append(
            TensorSpec(
                name=name,
                datatype=_datatype(name, tensor),
                shape=(-1, *tensor.shape[1:]),
                limits=None if bounds is None else tuple(bounds),
            )
        )
    return Signature(
        inputs=tuple(specs), outputs=(TensorSpec(name=OUTPUT, datatype="FP32", shape=(-1, outputs)),)
    )


def _datatype(name: str, tensor: Tensor) -> Datatype:
    known: dict[np.dtype[np.generic], Datatype] = {
        dtype: datatype  # type: ignore[misc]
        for datatype, dtype in NUMPY_DTYPES.items()
    }
    dtype = torch.zeros(0, dtype=tensor.dtype).numpy().dtype
    if tensor.ndim < 1 or dtype not in known:
        raise SignatureError(
            f"input {name!r}: expected a tensor of {[str(found) for found in known]} with rows first, "
            f"got {tensor.dtype} {list(tensor.shape)}"
        )
    return known[dtype]


def _evaluating(model: NestedModel) -> NestedModel:
    if isinstance(model, torch.nn.Module):
        model.eval()
    return model
