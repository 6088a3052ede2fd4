"""A bundle from ONNX files that were exported by anything, as a `tiers.yaml` names them. Needs no torch."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from elastier_contract.bundle import Bundle, new_bundle, open_bundle, seal
from elastier_contract.layout import DEFAULT_LAYOUT, Layout
from elastier_contract.machine import describe_machine
from elastier_contract.manifest import Provenance
from elastier_contract.progress import Progress, counted, no_progress
from elastier_contract.signature import Signature
from elastier_contract.tier import Tier
from elastier_exporter.errors import ParityError, TierError
from elastier_exporter.flops import flops_per_row
from elastier_exporter.labelled import Arrays, judge, read_labelled
from elastier_exporter.pack_file import PackFile, read_pack_file
from elastier_exporter.profiling import Measuring, time_tiers
from elastier_exporter.session import open_session, run_rows, signature_of
from elastier_exporter.tiers import graphs_of, write_tiers

TOLERANCE = 1e-4
"""Largest difference to the file that a tier was made of."""

_PROBE_ROWS = 64


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
    layout: Layout = DEFAULT_LAYOUT,
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
    labelled = None if spec.labelled is None else read_labelled(file.parent / spec.labelled, signature)
    told = counted(progress, "pack", len(sources))
    machine = describe_machine(ort.__version__)
    with new_bundle(out) as folder:
        models = ((source.name, ir.load(source.path)) for source in reversed(sources))
        weights = write_tiers(folder, models, layout, told)
        sessions = {
            source.name: open_session(folder, graphs_of(source.name, layout).graph, layout, measuring.threads)
            for source in sources
        }
        tiers = []
        for source in sources:
            session = sessions[source.name]
            _check_same(source, session, signature, labelled)
            given = spec.tiers[source.name].quality
            quality = given or judge(spec, session, signature, labelled)
            graphs = graphs_of(source.name, layout)
            tiers.append(
                Tier(
                    name=source.name,
                    parameters=source.parameters,
                    flops_per_row=source.flops,
                    graph=graphs.graph,
                    plain=graphs.plain,
                    quality=quality,
                )
            )
        profile = time_tiers(sessions, signature, measuring, progress)
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
