"""From a trained run to a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from elastier_contract.bundle import Bundle
from elastier_contract.layout import DEFAULT_LAYOUT, Layout
from elastier_contract.manifest import OUTPUT, Provenance
from elastier_contract.progress import Progress, no_progress
from elastier_contract.signature import Signature, TensorSpec
from elastier_exporter.bundling import (
    Material,
    Validation,
    check_name,
    make_bundle,
)
from elastier_exporter.errors import TierError
from elastier_exporter.parity import invented_rows
from elastier_exporter.profiling import Measuring
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import DataError
from elastier_trainer.frontier.tiers_file import read_tiers
from elastier_trainer.submodel import Ladder
from elastier_trainer.trained import TrainedModel, load_trained


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a run becomes a bundle."""

    name: str | None = None
    """The model's name; the run folder's by default."""
    version: str = "1"
    students: tuple[str, ...] | None = None
    """Students of the ladder to export, all by default; the TA is always among them."""
    tiers: Path | None = None
    """A tier file, as `elastier frontier` writes one, in place of the ladder."""
    layout: Layout = DEFAULT_LAYOUT
    measuring: Measuring = field(default_factory=Measuring)
    command: str = ""
    """The command that exports; the manifest keeps it behind the one that trained."""


def export_bundle(
    run: Path, out: Path, *, options: ExportOptions, progress: Progress = no_progress
) -> Bundle:
    """Export every tier of a finished run into the bundle `out`; an older bundle there is replaced at the end.

    Raises:
        NamingError: A name or version that no bundle can carry.
        CheckpointError: No finished run there.
        ConfigError: A tier file that does not fit the run.
        TierError: A student that the run did not train.
        GraphError: The TA's graph cannot be sliced.
        ParityError: A tier does not answer as torch does.
        DataError: The data are not those of the run.
    """
    name = run.resolve().name if options.name is None else options.name
    check_name(name, options.version)
    trained = load_trained(run)
    if options.tiers is None:
        ladder = choose_students(trained, options.students)
    else:
        ladder = read_tiers(options.tiers, trained.model.full)
    return make_bundle(
        _material(trained, ladder, options.command),
        out,
        name=name,
        model_version=options.version,
        layout=options.layout,
        measuring=options.measuring,
        progress=progress,
    )


def choose_students(trained: TrainedModel, names: Sequence[str] | None) -> Ladder:
    """The students of these names, in the ladder's order, the TA last.

    Raises:
        TierError: One that the run did not train: its answers would be worse than a narrower one's.
    """
    ladder = trained.ladder
    if names is None:
        return ladder
    unknown = sorted(set(names) - set(ladder.names))
    if unknown:
        raise TierError(f"expected students that the run trained, of {list(ladder.names)}, got {unknown}")
    wanted = {*names, ladder.names[-1]}
    return Ladder(students={name: submodel for name, submodel in ladder.students.items() if name in wanted})


def _material(trained: TrainedModel, ladder: Ladder, command: str) -> Material:
    dataset = _same_data(trained)
    features = trained.model.features
    signature = Signature(
        inputs=features.tensor_specs(),
        outputs=(TensorSpec(name=OUTPUT, datatype="FP32", shape=(-1, trained.task.outputs)),),
    )
    positions = dataset.splits["validation"]
    return Material(
        model=trained.model,
        ladder=ladder,
        task=trained.task,
        record=trained.record.task,
        signature=signature,
        features=features,
        validation=Validation(inputs=dataset.rows(positions), labels_R=dataset.labels_R[positions]),
        probes=invented_rows(signature, features, trained.seed),
        provenance=Provenance(
            command=" && ".join(part for part in (trained.command, command) if part),
            seed=trained.seed,
            data_sha256=trained.data_sha256,
            versions=trained.versions,
        ),
    )


def _same_data(trained: TrainedModel) -> Dataset:
    dataset = load_dataset(trained.data, trained.schema)
    if dataset.sha256 != trained.data_sha256:
        raise DataError(
            f"{trained.data}: expected the data of the run, with digest {trained.data_sha256[:12]}, "
            f"got {dataset.sha256[:12]}: quality would be measured on rows that may have been trained on"
        )
    return dataset
