"""From a trained run to a bundle: export the TA, slice the tiers, compare, judge, measure, seal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import onnx_ir as ir
import onnxruntime as ort
from pydantic import ValidationError
from torch import Tensor

from elastier_contract.bundle import Bundle, new_bundle, open_bundle, seal
from elastier_contract.layout import Layout
from elastier_contract.machine import describe_machine
from elastier_contract.manifest import OUTPUT, Manifest, Provenance
from elastier_contract.profile import measure_profile
from elastier_contract.progress import Progress, no_progress
from elastier_contract.signature import Signature, TensorSpec
from elastier_contract.tier import Quality, Tier
from elastier_exporter.errors import NamingError, TierError
from elastier_exporter.parity import check_parity, invented_rows
from elastier_exporter.session import open_session, run_rows, runner
from elastier_exporter.slicing import check_sliceable, point_at_weights, slice_tier
from elastier_exporter.torch_export import export_ta
from elastier_exporter.weights import write_weights
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import DataError
from elastier_trainer.metrics import auc_with_interval
from elastier_trainer.nesting import Widths
from elastier_trainer.trained import TrainedModel, load_trained

LAYOUT: Layout = "a"
_LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a run becomes a bundle."""

    name: str | None = None
    """The model's name; the run folder's by default."""
    version: str = "1"
    widths: tuple[int, ...] | None = None
    """Widths of the ladder to export, all by default; the TA is always among them."""
    threads: int = 1
    """Threads of one run, as the profile is measured."""
    runs: int = 30
    """Timed runs per tier and batch size."""
    command: str = ""
    """The command that exports; the manifest keeps it behind the one that trained."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A tier while it is being made."""

    name: str
    widths: Widths
    graph: str
    session: ort.InferenceSession


def export_bundle(
    run: Path, out: Path, *, options: ExportOptions, progress: Progress = no_progress
) -> Bundle:
    """Export every tier of a finished run into the bundle `out`; an older bundle there is replaced at the end.

    Raises:
        NamingError: A name or version that no bundle can carry.
        CheckpointError: No finished run there.
        TierError: A width that the run did not train.
        GraphError: The TA's graph cannot be sliced.
        ParityError: A tier does not answer as torch does.
        DataError: The data are not those of the run.
    """
    name = choose_name(run, options)
    trained = load_trained(run)
    ladder = choose_tiers(trained, options.widths)
    dataset = _same_data(trained)
    signature = Signature(
        inputs=trained.model.features.tensor_specs(),
        outputs=(TensorSpec(name=OUTPUT, datatype="FP32", shape=(-1, 1)),),
    )
    told = _counter(progress, 1 + 2 * len(ladder))
    with new_bundle(out) as folder:
        opened = _write_tiers(folder, trained, signature, ladder, options.threads, told)
        tiers = [_judge(tier, trained, signature, dataset, told) for tier in opened]
        profile = measure_profile(
            runner({tier.name: tier.session for tier in opened}, signature),
            [tier.name for tier in opened],
            machine=describe_machine(ort.__version__),
            threads=options.threads,
            runs=options.runs,
            progress=progress,
        )
        seal(
            folder,
            profile,
            name=name,
            version=options.version,
            created_at=datetime.now(UTC),
            layout=LAYOUT,
            task="binary",
            signature=signature,
            features=trained.model.features,
            tiers=tuple(tiers),
            provenance=_provenance(trained, options.command),
        )
    return open_bundle(out)


def choose_name(run: Path, options: ExportOptions) -> str:
    """The model's name, which with its version is checked before the work rather than after it.

    Raises:
        NamingError: The manifest could not carry one of the two.
    """
    name = run.resolve().name if options.name is None else options.name
    given = {"name": name, "version": options.version}
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
    return name


def choose_tiers(trained: TrainedModel, widths: Sequence[int] | None) -> list[Widths]:
    """The ladder's sub-models of these widths, ascending, the TA last.

    Raises:
        TierError: A width that the run did not train: its answers would be worse than a narrower one's.
    """
    if widths is None:
        return list(trained.ladder)
    known = trained.config.ladder
    unknown = sorted(set(widths) - set(known))
    if unknown:
        raise TierError(f"expected widths that the run trained, of {list(known)}, got {unknown}")
    wanted = {*widths, known[-1]}
    return [kept for width, kept in zip(known, trained.ladder, strict=True) if width in wanted]


def _same_data(trained: TrainedModel) -> Dataset:
    dataset = load_dataset(trained.data, trained.schema)
    if dataset.sha256 != trained.data_sha256:
        raise DataError(
            f"{trained.data}: expected the data of the run, with digest {trained.data_sha256[:12]}, "
            f"got {dataset.sha256[:12]}: quality would be measured on rows that may have been trained on"
        )
    return dataset


def _write_tiers(
    folder: Path,
    trained: TrainedModel,
    signature: Signature,
    ladder: Sequence[Widths],
    threads: int,
    told: Callable[[str], None],
) -> list[_Opened]:
    """Write weights and graphs, and open every tier."""
    model, nested = trained.model, trained.model.nested_parameters()
    ta = export_ta(model, signature)
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    check_sliceable(ta, nested, weights)
    ranges = write_weights(folder, weights)
    point_at_weights(ta, ranges)
    told("TA")
    (folder / "tiers").mkdir()
    opened = []
    for widths in ladder:
        name = tier_name(widths)
        graph = f"tiers/{name}.onnx"
        ir.save(slice_tier(ta, nested, ranges, widths), folder / graph)
        session = open_session(folder, graph, LAYOUT, threads)
        opened.append(_Opened(name=name, widths=widths, graph=graph, session=session))
        told(name)
    return opened


def tier_name(widths: Widths) -> str:
    """`w8` where every block has 8 hidden units, else `w8-16`."""
    return "w" + "-".join(str(width) for width in (widths[:1] if len(set(widths)) == 1 else widths))


def _judge(
    tier: _Opened,
    trained: TrainedModel,
    signature: Signature,
    dataset: Dataset,
    told: Callable[[str], None],
) -> Tier:
    """Compare a tier with torch, and measure the quality of what will be served."""
    positions = dataset.splits["validation"]
    inputs: dict[str, Tensor] = dataset.rows(positions)
    for rows in (inputs, *invented_rows(signature, trained.model.features, trained.seed)):
        check_parity(tier.name, tier.session, trained.model, tier.widths, rows)
    auc = auc_with_interval(run_rows(tier.session, inputs), dataset.labels_R[positions])
    told(f"{tier.name} AUC {auc.value:.4f}")
    return Tier(
        name=tier.name,
        widths=tier.widths,
        layers=tuple(range(len(tier.widths))),
        parameters=trained.model.parameter_count(tier.widths),
        flops_per_row=trained.model.flops_per_row(tier.widths),
        graph=tier.graph,
        quality=Quality(
            metric="auc",
            value=auc.value,
            low=auc.low,
            high=auc.high,
            chance=0.5,
            rows=auc.rows,
            split="validation",
        ),
    )


def _provenance(trained: TrainedModel, command: str) -> Provenance:
    return Provenance(
        command=" && ".join(part for part in (trained.command, command) if part),
        seed=trained.seed,
        data_sha256=trained.data_sha256,
        versions=trained.versions | {library: version(library) for library in _LIBRARIES},
    )


def _counter(progress: Progress, total: int) -> Callable[[str], None]:
    done = 0

    def told(detail: str) -> None:
        nonlocal done
        done += 1
        progress("export", done, total, detail)

    return told
