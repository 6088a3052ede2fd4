"""`elastier train`: a MatTA run, or the teacher it learns from."""

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.table import Table

from elastier_cli.console import console, print_json, progress_bars

if TYPE_CHECKING:
    from elastier_trainer.config import TrainConfig
    from elastier_trainer.run import TrainReport

INTERRUPTED = 130


class Kind(StrEnum):
    """What to train."""

    MATTA = "matta"
    TEACHER = "teacher"


def train(
    out: Annotated[Path, typer.Option(help="The run's folder; made if need be.", show_default=False)],
    config: Annotated[Path | None, typer.Option(help="YAML file, see docs/training-config.md.")] = None,
    kind: Annotated[Kind, typer.Option(help="A nested model, or the teacher it learns from.")] = Kind.MATTA,
    data: Annotated[Path | None, typer.Option(help="Parquet or CSV file.")] = None,
    schema: Annotated[Path | None, typer.Option(help="What the columns of the data mean.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="The teacher's logits by row id.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    widths: Annotated[
        str | None,
        typer.Option(help="Ladder of hidden units per block, such as 8,16,32; the last is the TA."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, batches, widths and labelled rows.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of the file, such as objective.alpha=0.5.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder; begin if there is none.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Discard the run in the folder and begin.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Train a TA with all its students in one run, into a folder that `elastier export` reads.

    Flags go over the file. Ctrl-C saves a checkpoint and says how to go on.

    First the teacher, then the nested model that learns from it:

      elastier train --kind teacher --config flights.yaml --out teacher

      elastier train --config flights.yaml --out run

    The same with flags alone, and going on after an interruption:

      elastier train --data D.parquet --schema S.yaml --teacher T.parquet --widths 8,32,128 --out run

      elastier train --resume --out run
    """
    if resume and force:
        raise typer.BadParameter("--resume continues the run there is, --force discards it: give one of them")
    flags: dict[str, Any] = {
        "data": data,
        "schema": schema,
        "teacher": teacher,
        "steps": steps,
        "seed": seed,
    }
    overrides = {key: value for key, value in flags.items() if value is not None}
    overrides |= _ladder(widths) | _settings(settings or [])
    if kind is Kind.TEACHER:
        if resume or force or steps or widths or teacher:
            raise typer.BadParameter(
                "--kind teacher takes --data, --schema, --config, --seed, --out, --set and --json; "
                "a teacher in --out is replaced once the new one is done"
            )
        _train_teacher(out, config, overrides, as_json=as_json)
    else:
        _train_matta(out, config, overrides, resume=resume, force=force, as_json=as_json)


def _train_teacher(out: Path, file: Path | None, overrides: dict[str, Any], *, as_json: bool) -> None:
    from elastier_trainer.config_file import load_config
    from elastier_trainer.teachers.lightgbm import TeacherConfig, train_teacher

    data, schema = overrides.pop("data", None), overrides.pop("schema", None)
    if file is not None:
        config = load_config(file)
        data, schema = data or config.data, schema or config.schema
    if data is None or schema is None:
        raise typer.BadParameter("--kind teacher: expected --data and --schema, or --config with both")
    known = [field.name for field in fields(TeacherConfig)]
    if unknown := sorted(set(overrides) - set(known)):
        raise typer.BadParameter(f"--set: expected a key of a teacher, one of {known}, got {unknown}")
    with progress_bars() as progress:
        report = train_teacher(data, schema, out, config=TeacherConfig(**overrides), progress=progress)
    if as_json:
        print_json(asdict(report))
        return
    table = Table("split", report.metric, "95 % interval")
    for split, found in report.quality.items():
        table.add_row(split, f"{found.value:.4f}", f"{found.low:.4f} to {found.high:.4f}")
    console.print(table)
    console.print(
        f"logits of {report.rows:,} rows in {report.seconds:.0f} s: {report.logits}",
        markup=False,
        soft_wrap=True,
    )


def _train_matta(
    out: Path, file: Path | None, overrides: dict[str, Any], *, resume: bool, force: bool, as_json: bool
) -> None:
    calm_threads()
    from elastier_trainer.config_file import load_config
    from elastier_trainer.folder import CONFIG_YAML
    from elastier_trainer.run import run_training

    if file is None and resume and (out / CONFIG_YAML).is_file():
        file = out / CONFIG_YAML
    config: TrainConfig = load_config(file, overrides)
    command = shlex.join(["elastier", *sys.argv[1:]])
    with stop_on_signal() as stop, progress_bars() as progress:
        report = run_training(
            config, out, resume=resume, force=force, command=command, progress=progress, stop=stop
        )
    if as_json:
        print_json(asdict(report))
    else:
        _show(report, config)
    if report.ending == "interrupted":
        raise typer.Exit(INTERRUPTED)


def _show(report: "TrainReport", config: "TrainConfig") -> None:
    if report.ending == "interrupted":
        console.print(
            f"stopped at step {report.steps_taken} of {config.steps}, state saved; go on with\n"
            f"  elastier train --resume --out {shlex.quote(str(report.run))}",
            markup=False,
            soft_wrap=True,
        )
        return
    for warning in report.warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)
    table = Table("student", f"validation {report.metric}")
    for student, value in report.validation.items():
        table.add_row(student, f"{value:.4f}")
    console.print(table)
    console.print(
        f"{report.ending}, {report.steps_taken} steps in {report.seconds:.0f} s; {report.weights}\n"
        f"model in {report.run}",
        markup=False,
        soft_wrap=True,
    )


def calm_threads() -> None:
    """Let idle threads of torch sleep instead of spin; call it before torch is first imported.

    Where cores are shared, spinning threads take them from those that work: a 95 s run became one of 225 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a question: did SIGINT or SIGTERM come? The second of a kind acts as it did before."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ladder(widths: str | None) -> dict[str, Any]:
    if widths is None:
        return {}
    try:
        ladder = [int(width) for width in widths.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--widths: expected numbers like 8,16,32, got {widths!r}") from error
    return {"ladder": ladder, "model.hidden": ladder[-1]}


def _settings(settings: list[str]) -> dict[str, Any]:
    values = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise typer.BadParameter(f"--set: expected KEY=VALUE, got {setting!r}")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--set {key}: expected a YAML value, got {text!r}") from error
    return values
