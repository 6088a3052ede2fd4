"""From a nested model to a bundle: write the tiers, compare them with torch, judge, measure, seal."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import onnxruntime as ort
import torch
from pydantic import ValidationError
from torch import Tensor

from elastier_contract.bundle import Bundle, new_bundle, open_bundle, seal
from elastier_contract.features import FeatureSchema
from elastier_contract.layout import DEFAULT_LAYOUT, Layout
from elastier_contract.machine import describe_machine
from elastier_contract.manifest import Manifest, Provenance
from elastier_contract.progress import Progress, counted, no_progress
from elastier_contract.signature import Signature
from elastier_contract.tier import Quality, Tier
from elastier_exporter.errors import GraphError, NamingError
from elastier_exporter.parity import arrays_of, check_parity
from elastier_exporter.profiling import Measuring, time_tiers
from elastier_exporter.session import open_session, run_rows
from elastier_exporter.slicing import TierSlicer
from elastier_exporter.tiers import graphs_of, write_tiers
from elastier_exporter.torch_export import export_graph
from elastier_trainer.submodel import Inputs, Ladder, NestedModel, Submodel, parameter_count
from elastier_trainer.task import Task
from elastier_trainer.trained import TaskRecord

_LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Rows that training did not fit, to judge tiers by."""

    inputs: Inputs
    labels_R: Tensor
    split: str = "validation"


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a bundle is made of."""

    model: NestedModel
    """In evaluation mode."""
    ladder: Ladder
    """The tiers, the TA last."""
    task: Task
    record: TaskRecord
    """The task as the manifest tells it."""
    signature: Signature
    features: FeatureSchema | None
    validation: Validation
    probes: Sequence[Inputs]
    """Further rows on which each tier has to answer as torch does."""
    provenance: Provenance


def make_bundle(
    material: Material,
    out: Path,
    *,
    name: str,
    model_version: str,
    layout: Layout = DEFAULT_LAYOUT,
    measuring: Measuring,
    progress: Progress = no_progress,
) -> Bundle:
    """Write the bundle `out`; an older bundle there is replaced at the end.

    Raises:
        GraphError: The TA's graph cannot be exported or sliced.
        ParityError: A tier does not answer as torch does.
    """
    ladder = by_cost(material.model, material.ladder)
    told = counted(progress, "export", 1 + 2 * len(ladder.names))
    machine = describe_machine(ort.__version__)
    with new_bundle(out) as folder:
        slicer = _slicer(material, ladder, layout)
        told("TA")
        start = time.perf_counter()
        graphs = ((name, slicer.slice(submodel)) for name, submodel in reversed(ladder.students.items()))
        weights = write_tiers(folder, graphs, layout, told)
        slice_s = (time.perf_counter() - start) / len(ladder.names)
        sessions = {tier: _open(folder, tier, layout, measuring.threads) for tier in ladder.names}
        tiers = [
            _judge(tier, submodel, sessions[tier], material, layout, told)
            for tier, submodel in ladder.students.items()
        ]
        profile = time_tiers(sessions, material.signature, measuring, progress)
        record = material.record
        scale = (record.label_mean, record.label_std) if record.name == "regression" else (None, None)
        seal(
            folder,
            profile,
            name=name,
            version=model_version,
            created_at=datetime.now(UTC),
            layout=layout,
            task=record.name,
            classes=record.classes,
            label_mean=scale[0],
            label_std=scale[1],
            signature=material.signature,
            features=material.features,
            tiers=tuple(tiers),
            weights=weights,
            packed_on=machine if layout == "d" else None,
            provenance=_with_libraries(material.provenance, slice_s),
        )
    return open_bundle(out)


def check_name(name: str, model_version: str) -> None:
    """Check a model's name and version before the work rather than after it.

    Raises:
        NamingError: The manifest could not carry one of the two.
    """
    given = {"name": name, "version": model_version}
    try:
        Manifest.model_validate(given)
    except (
        ValidationError
    ) as error:  # always, as other fields are missing: a given one among them is at fault
        faulty = {fault["loc"][0] for fault in error.errors()}
        for field, text in given.items():
            if field in faulty:
                raise NamingError(
                    f"expected a {field} of letters, digits, '.', '_' and '-', the first a letter or digit, "
                    f"at most 127, got {text!r}: --{field} gives another"
                ) from error


def by_cost(model: NestedModel, ladder: Ladder) -> Ladder:
    """The ladder from the cheapest to the TA."""
    costs = {name: model.flops_per_row(submodel) for name, submodel in ladder.students.items()}
    return Ladder(students={name: ladder.students[name] for name in sorted(costs, key=costs.__getitem__)})


def _slicer(material: Material, ladder: Ladder, layout: Layout) -> TierSlicer:
    """The TA, exported once, from whose graph every tier comes."""
    model = material.model
    ta = export_graph(model.extract(model.full), material.signature)
    return TierSlicer(ta, model, ladder.submodels, layout)


def _open(folder: Path, tier: str, layout: Layout, threads: int) -> ort.InferenceSession:
    try:
        return open_session(folder, graphs_of(tier, layout).graph, layout, threads)
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise GraphError(f"tier {tier!r}: ONNX Runtime refuses its graph: {error}") from error


def _judge(
    name: str,
    submodel: Submodel,
    session: ort.InferenceSession,
    material: Material,
    layout: Layout,
    told: Callable[[str], None],
) -> Tier:
    """Compare a tier with torch, and measure the quality of what will be served."""
    model, validation, task = material.model, material.validation, material.task
    for rows in (validation.inputs, *material.probes):
        check_parity(name, session, model, submodel, rows)
    logits_RC = torch.from_numpy(run_rows(session, arrays_of(validation.inputs)))
    found = task.evaluate(logits_RC, validation.labels_R)
    told(f"{name} {task.metric} {found.value:.4f}")
    graphs = graphs_of(name, layout)
    return Tier(
        name=name,
        widths=submodel.widths,
        layers=submodel.layers,
        model_dim=submodel.model_dim or None,
        parameters=parameter_count(model, submodel),
        flops_per_row=model.flops_per_row(submodel),
        graph=graphs.graph,
        plain=graphs.plain,
        quality=Quality(
            metric=task.metric,
            value=found.value,
            low=found.low,
            high=found.high,
            chance=task.chance,
            rows=found.rows,
            split=validation.split,
        ),
    )


def _with_libraries(provenance: Provenance, slice_s: float) -> Provenance:
    versions: Mapping[str, str] = {library: version(library) for library in _LIBRARIES}
    return provenance.model_copy(
        update={"versions": {**provenance.versions, **versions}, "slice_seconds_per_tier": round(slice_s, 4)}
    )
