"""The demo's work before serving: data → teacher → MatTA run → bundle, each step reused where nothing changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from elastier_cli.demo.ledger import Ledger
from elastier_contract.bundle import Bundle, open_bundle
from elastier_contract.progress import Progress

VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where the demo keeps what it makes."""

    folder: Path

    @property
    def data(self) -> Path:
        """The flights table."""
        return self.folder / "data" / "flights.parquet"

    @property
    def schema(self) -> Path:
        """What the columns of the flights table are."""
        return self.folder / "data" / "flights.schema.yaml"

    @property
    def teacher(self) -> Path:
        """The teacher's folder, its logits in it."""
        return self.folder / "teacher"

    @property
    def run(self) -> Path:
        """The MatTA run's folder."""
        return self.folder / "run"

    @property
    def bundle(self) -> Path:
        """The bundle's folder."""
        return self.folder / "bundle"

    @property
    def ledger(self) -> Ledger:
        """What was made from what, and how long it took."""
        return Ledger(self.folder / "ledger.json")


def prepare(place: Workplace, config: Path, progress: Progress) -> Bundle:
    """Make the bundle, reusing every step whose inputs are unchanged.

    Args:
        place: Where to keep what is made.
        config: The MatTA run's YAML; its data, schema and teacher are replaced by the demo's own.
        progress: Told how far each step is.
    """
    from elastier_exporter.export import ExportOptions, export_bundle
    from elastier_trainer.config_file import load_config
    from elastier_trainer.data.flights import build_flights
    from elastier_trainer.run import run_training
    from elastier_trainer.teachers.lightgbm import LOGITS_FILE, TeacherConfig, train_teacher

    ledger = place.ledger
    data = ledger.step(
        "data", inputs=[], output=place.data, make=lambda _: build_flights(place.data.parent, progress)
    )
    teacher_config = TeacherConfig()
    teacher = ledger.step(
        "teacher",
        inputs=[data, repr(teacher_config)],
        output=place.teacher,
        make=lambda _: train_teacher(
            place.data, place.schema, place.teacher, config=teacher_config, progress=progress
        ),
    )
    overrides = {"data": place.data, "schema": place.schema, "teacher": place.teacher / LOGITS_FILE}
    run = ledger.step(
        "train",
        inputs=[teacher, hashlib.sha256(config.read_bytes()).hexdigest()],
        output=place.run / "model",
        continued=place.run,
        make=lambda begun: run_training(
            load_config(config, overrides),
            place.run,
            resume=begun,
            force=not begun,
            command=f"elastier train --config {config.name}",
            progress=progress,
        ),
    )
    options = ExportOptions(name="flights", version=VERSION, command="elastier export run --name flights")
    ledger.step(
        "export",
        inputs=[run, repr(options)],
        output=place.bundle,
        make=lambda _: export_bundle(place.run, place.bundle, options=options, progress=progress),
    )
    return open_bundle(place.bundle)
