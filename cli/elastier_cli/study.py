"""`elastier study`: recipes against each other, over seeds, with intervals."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from elastier_cli.console import console, print_error, print_json, progress_bars

if TYPE_CHECKING:
    from elastier_trainer.study.folder import StudyEnding

RUN = "run"
INTERRUPTED = 130


class RunByDefault(TyperGroup):
    """`elastier study FILE` is `elastier study run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command's name where it is left out."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = [RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(name="study", cls=RunByDefault, no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def study() -> None:
    """Compare recipes over seeds: run a study, go on with it, write its report again.

    A file says which recipes, optimizers and seeds, see docs/studies.md:

      elastier study examples/studies/flights.yaml --out build/flights --workers 2

    The same command goes on after Ctrl-C, a kill, or a change of the file; what is done is not done again.

      elastier study report build/flights

    Mix'n'Match over the seeds of a nested recipe:

      elastier study mixes build/flights --recipe matta_per_block
    """


AsJson = Annotated[bool, typer.Option("--json", help="Print study.json on stdout.")]


@app.command(RUN)
def run(
    file: Annotated[Path, typer.Argument(help="The study's YAML file.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The study's folder; made if need be.", show_default=False)],
    workers: Annotated[int | None, typer.Option(min=1, help="Jobs at a time; default: the file's.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this recipe and what it needs; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it.

    Writes study.json, study.md and plots. Each recipe, optimizer and seed is a job in a process of its own; one
    that fails is reported and the rest goes on. Ctrl-C saves what runs.

      elastier study examples/studies/letters.yaml --out build/letters

      elastier study examples/studies/letters.yaml --out build/letters --only matta --only alone
    """
    from elastier_cli.train import calm_threads, stop_on_signal

    calm_threads()
    from elastier_trainer.study.folder import study as run_whole

    with stop_on_signal() as stop, progress_bars() as progress:
        ending = run_whole(
            file,
            out,
            workers=workers,
            only=frozenset(only or ()),
            command=shlex.join(["elastier", *sys.argv[1:]]),
            progress=progress,
            stop=stop,
        )
    _end(ending, out, as_json=as_json)


@app.command()
def mixes(
    folder: Annotated[Path, typer.Argument(help="The study's folder.", show_default=False)],
    recipe: Annotated[
        str, typer.Option(help="A nested recipe whose runs are done, trained with widths per block.")
    ] = "matta_per_block",
    evaluations: Annotated[
        int, typer.Option(help="Sub-models to evaluate at most, of each run.", min=1)
    ] = 200,
    as_json: AsJson = False,
) -> None:
    """Search the mixes of a recipe's runs (Mix'n'Match), and say over seeds whether they beat the ladder.

    Does what `elastier frontier` does with each run, and puts a table into the study's report.

      elastier study mixes build/flights --recipe matta_per_block
    """
    from elastier_cli.train import calm_threads, stop_on_signal

    calm_threads()
    from elastier_trainer.frontier.run import FrontierOptions
    from elastier_trainer.study.folder import study_mixes

    options = FrontierOptions(evaluations=evaluations, command=shlex.join(["elastier", *sys.argv[1:]]))
    with stop_on_signal() as stop, progress_bars() as progress:
        ending = study_mixes(folder, recipe, options, progress=progress, stop=stop)
    _end(ending, folder, as_json=as_json)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The study's folder.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write a study's report again, from what lies in its folder.

    elastier study report build/flights
    """
    from elastier_trainer.study.folder import report_study

    _finish(report_study(folder), folder, as_json=as_json)


def _end(ending: "StudyEnding", out: Path, *, as_json: bool) -> None:
    if ending.interrupted:
        console.print("stopped, all that was done is saved; the same command goes on", markup=False)
    _finish(ending.report, out, as_json=as_json)
    if ending.interrupted:
        raise typer.Exit(INTERRUPTED)


def _finish(report: dict[str, Any], out: Path, *, as_json: bool) -> None:
    from elastier_trainer.study.report import errors_of

    if as_json:
        print_json(report)
    else:
        console.print(f"{_summary(report)}\nreport in {out}", markup=False, soft_wrap=True)
    errors = errors_of(report)
    for error in errors:
        print_error(error)
    if errors:
        raise typer.Exit(1)


def _summary(report: dict[str, Any]) -> str:
    runs = len({(run["recipe"], run["optimizer"], run["seed"], run["job"]) for run in report["runs"]})
    missing = len(report["missing"])
    return f"{runs} runs reported" + (f", {missing} runs to go" if missing else "")
