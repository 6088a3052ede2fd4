"""A bundle from ONNX files that were exported by anything, as a `tiers.yaml` names them. Needs no torch.

Shapes: R rows, C outputs a row.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, ValidationError, model_validator

from elastier_contract.bundle import Bundle, new_bundle, open_bundle, seal
from elastier_contract.layout import Layout
from elastier_contract.machine import describe_machine
from elastier_contract.manifest import ModelName, Provenance, Task
from elastier_contract.model import FrozenModel
from elastier_contract.profile import measure_profile
from elastier_contract.progress import Progress, no_progress
from elastier_contract.signature import Signature
from elastier_contract.tier import Quality, Tier, TierName
from elastier_exporter.errors import ParityError, TierError
from elastier_exporter.flops import flops_per_row
from elastier_exporter.measuring import Measuring
from elastier_exporter.session import open_session, run_rows, runner, signature_of
from elastier_exporter.tiers import graphs_of, write_tiers
from elastier_trainer.document import findings, read_yaml
from elastier_trainer.errors import ConfigError
from elastier_trainer.metrics import Interval, accuracy_with_interval, auc_with_interval, r2_with_interval

LABEL = "label"
"""The labels' name in a labelled file."""
TOLERANCE = 1e-4
"""Largest difference to the file that a tier was made of."""

_PROBE_ROWS = 64
Arrays = Mapping[str, NDArray[Any]]


class PackTier(FrozenModel):
    """One tier of a `tiers.yaml`."""

    graph: Path
    """Its ONNX file, relative to the YAML file."""
    quality: Quality | None = None
    """None measures it on the labelled file."""
    flops_per_row: PositiveInt | None = None
    """None counts matrix products and convolutions in the graph."""


class PackFile(FrozenModel):
    """What `tiers.yaml` says."""

    name: ModelName
    version: ModelName = "1"
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    """Of a multiclass task: the name of each output."""
    limits: dict[str, tuple[PositiveInt, ...]] = Field(default_factory=dict)
    """Input of ids → exclusive upper bound of each column."""
    labelled: Path | None = None
    """An `.npz` of the inputs by name and of `label`, to measure quality on; relative to the YAML file."""
    split: str = "labelled"
    """What rows these are, for the manifest."""
    tiers: Annotated[dict[TierName, PackTier], Field(min_length=1)]

    @model_validator(mode="after")
    def _quality_from_somewhere(self) -> "PackFile":
        unknown = [name for name, tier in self.tiers.items() if tier.quality is None]
        if unknown and self.labelled is None:
            raise ValueError(f"expected `labelled`, or the quality of tiers {unknown}")
        if (self.task == "multiclass") != bool(self.classes):
            raise ValueError(f"expected classes for a multiclass task and for no other, got {self.classes}")
        return self


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A tier before it is packed."""

    name: str
    path: Path
    flops: int
    parameters: int


def pack_bundle(
    file: Path,
    out: Path,
    *,
    layout: Layout = "d",
    measuring: Measuring | None = None,
    command: str = "",
    progress: Progress = no_progress,
) -> Bundle:
    """Make a bundle of ONNX files of one signature; what they have in common is stored once.

    Args:
        file: The `tiers.yaml`.
        out: The bundle's folder; an older bundle there is replaced at the end.
        layout: How weights are to lie.
        measuring: How tiers are timed.
        command: What was typed, for the manifest.
        progress: Told after every tier and every round of timing.

    Raises:
        ConfigError: The file says something that cannot be.
        TierError: An ONNX file cannot be opened, or has another signature than the first.
        ParityError: A tier does not answer as its file does.
    """
    spec = read_pack_file(file)
    measuring = measuring or Measuring()
    sources = _sources(file.parent, spec)
    signature = _common_signature(sources, spec)
    labelled = None if spec.labelled is None else _read_labelled(file.parent / spec.labelled, signature)
    told = _counter(progress, len(sources))
    machine = describe_machine(ort.__version__)
    with new_bundle(out) as folder:
        graphs = ((source.name, ir.load(source.path)) for source in reversed(sources))
        weights = write_tiers(folder, graphs, layout, told)
        sessions = {
            source.name: open_session(folder, graphs_of(source.name, layout)[0], layout, measuring.threads)
            for source in sources
        }
        tiers = []
        for source in sources:
            session = sessions[source.name]
            _check_same(source, session, signature, labelled)
            given = spec.tiers[source.name].quality
            quality = given or _judge(spec, session, signature, labelled)
            tiers.append(
                Tier(
                    name=source.name,
                    parameters=source.parameters,
                    flops_per_row=source.flops,
                    graph=graphs_of(source.name, layout)[0],
                    plain=graphs_of(source.name, layout)[1],
                    quality=quality,
                )
            )
        profile = measure_profile(
            runner(sessions, signature),
            [source.name for source in sources],
            machine=machine,
            threads=measuring.threads,
            runs=measuring.runs,
            progress=progress,
        )
        seal(
            folder,
            profile,
            name=spec.name,
            version=spec.version,
            created_at=datetime.now(UTC),
            layout=layout,
            task=spec.task,
            classes=spec.classes,
            signature=signature,
            tiers=tuple(tiers),
            weights=weights,
            packed_on=machine if layout == "d" else None,
            provenance=Provenance(
                command=command,
                seed=0,
                data_sha256="",
                versions={library: version(library) for library in ("elastier", "onnxruntime", "onnx-ir")},
            ),
        )
    return open_bundle(out)


def read_pack_file(file: Path) -> PackFile:
    """Read a `tiers.yaml`.

    Raises:
        ConfigError: No such file, not YAML, an unknown key, a value that cannot be.
    """
    try:
        return PackFile.model_validate(read_yaml(file), strict=False)
    except ValidationError as error:
        raise ConfigError(f"{file}: {'; '.join(findings(error))}") from error


def _sources(folder: Path, spec: PackFile) -> list[_Source]:
    """The tiers from the cheapest to the costliest."""
    sources = []
    for name, tier in spec.tiers.items():
        path = folder / tier.graph
        model = _load(name, path)
        sources.append(
            _Source(
                name=name,
                path=path,
                flops=tier.flops_per_row or flops_per_row(name, model),
                parameters=max(1, sum(_numbers(value) for value in model.graph.initializers.values())),
            )
        )
    return sorted(sources, key=lambda source: source.flops)


def _load(name: str, path: Path) -> ir.Model:
    if not path.is_file():
        raise TierError(f"tier {name!r}: expected an ONNX file at {path}, found none")
    try:
        return ir.load(path)
    except Exception as error:  # of protobuf, of the file system, of onnx-ir
        reason = str(error).partition("\n")[0]
        raise TierError(
            f"tier {name!r}: expected an ONNX file at {path}, cannot open it: {reason}"
        ) from error


def _numbers(value: ir.Value) -> int:
    tensor = value.const_value
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else int(tensor.size)


def _common_signature(sources: list[_Source], spec: PackFile) -> Signature:
    """The signature of all tiers.

    Raises:
        TierError: One differs, or cannot be served.
    """
    found: dict[str, Signature] = {}
    for source in sources:
        session = _open(source)
        found[source.name] = signature_of(source.name, session, spec.limits)
    first = next(iter(found))
    for name, signature in found.items():
        if signature != found[first]:
            raise TierError(
                f"tier {name!r}: expected the inputs and outputs of tier {first!r}, {_shown(found[first])}, "
                f"got {_shown(signature)}"
            )
    return found[first]


def _open(source: _Source) -> ort.InferenceSession:
    try:
        return open_session(source.path.parent, source.path.name, "d", 1)
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise TierError(f"tier {source.name!r}: ONNX Runtime refuses {source.path}: {error}") from error


def _shown(signature: Signature) -> str:
    def specs(kind: str) -> str:
        return ", ".join(f"{s.name} {s.datatype} {list(s.shape)}" for s in getattr(signature, kind))

    return f"{specs('inputs')} → {specs('outputs')}"


def _read_labelled(path: Path, signature: Signature) -> Arrays:
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


def _check_same(
    source: _Source, session: ort.InferenceSession, signature: Signature, labelled: Arrays | None
) -> None:
    """A tier answers as the file that it was made of.

    Raises:
        ParityError: It does not.
    """
    original = _open(source)
    samples = [signature.sample_inputs(_PROBE_ROWS, np.random.default_rng(0))]
    if labelled is not None:
        samples.append({spec.name: labelled[spec.name] for spec in signature.inputs})
    for inputs in samples:
        for output in signature.outputs:
            expected, found = (run_rows(opened, inputs, output.name) for opened in (original, session))
            same = np.isclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
            if not same.all():
                raise ParityError(
                    f"tier {source.name!r}: expected {output.name} within {TOLERANCE:g} of {source.path}'s, got "
                    f"another in {int((~same).sum())} of {same.size} numbers; nothing was written"
                )


def _judge(
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


def _counter(progress: Progress, total: int) -> Callable[[str], None]:
    counted: Iterator[int] = iter(range(1, total + 1))

    def told(detail: str) -> None:
        progress("pack", next(counted), total, detail)

    return told
