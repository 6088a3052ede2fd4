"""`elastier frontier`: mixes of a trained run's widths that are worth their cost."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from elastier_cli.console import console, print_json, progress_bars
from elastier_cli.train import INTERRUPTED, calm_threads, stop_on_signal

if TYPE_CHECKING:
    from elastier_trainer.frontier.report import FrontierReport, StepReport

FLOPS = "flops"


def frontier(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training run.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the tier file, the figures and the plot.", show_default=False)
    ],
    cost: Annotated[
        str, typer.Option(help="`flops`, or a bundle of the run, whose measured latency is the cost.")
    ] = FLOPS,
    rows: Annotated[int, typer.Option(help="Rows of a request, for measured latency.", min=1)] = 200,
    evaluations: Annotated[int, typer.Option(help="Sub-models to evaluate at most.", min=1)] = 200,
    tiers: Annotated[
        int | None,
        typer.Option(help="Tiers to choose, the TA among them; by default as many as were trained.", min=1),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search, the halves and the interval.", min=0)] = 0,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap for the interval.", min=20)] = 1000,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Search mixes even of a run that never trained one.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Search the mixes of trained widths for the best quality at every cost (Mix'n'Match).

    One half of the validation rows chooses, the other half judges whether the front beats the uniform ladder.
    Writes tiers.yaml, frontier.json and frontier.png into the folder. Ctrl-C keeps every evaluation: the same
    command goes on.

    elastier frontier build/run --out build/frontier

    elastier frontier build/run --out build/frontier --evaluations 500 --tiers 6

    By latency, as measured in a bundle of the run, for requests of 300 rows:

    elastier frontier build/run --out build/frontier --cost build/bundle --rows 300
    """
    calm_threads()
    from elastier_trainer.frontier.run import FrontierOptions, run_frontier

    options = FrontierOptions(
        bundle=None if cost == FLOPS else Path(cost),
        rows=rows,
        evaluations=evaluations,
        tiers=tiers,
        seed=seed,
        resamples=resamples,
        untrained=untrained,
        command=shlex.join(["elastier", *sys.argv[1:]]),
    )
    with stop_on_signal() as stop, progress_bars() as progress:
        report = run_frontier(run, out, options=options, progress=progress, stop=stop)
    if report is None:
        console.print(
            f"stopped, evaluations kept in {out}; the same command goes on", markup=False, soft_wrap=True
        )
        raise typer.Exit(INTERRUPTED)
    if as_json:
        print_json(report.model_dump(mode="json", exclude={"evaluated"}))
    else:
        _show(report, out)


def _show(report: "FrontierReport", out: Path) -> None:
    table = Table("tier", "widths", "layers", report.cost.unit, f"{report.metric}, other rows")
    for tier in report.tiers:
        table.add_row(*_cells(tier))
    console.print(table)
    lines = [
        f"{report.verdict}\n",
        f"with {len(report.tiers)} tiers against the ladder's {len(report.ladder)}: "
        f"{report.tiers_against_ladder.difference:+.5f} ({report.tiers_against_ladder.low:+.5f} to "
        f"{report.tiers_against_ladder.high:+.5f})\n",
        f"{report.evaluations} of {report.space:,} sub-models evaluated, {len(report.front)} on the front\n",
        *(f"{note}\n" for note in report.notes),
        f"tiers in {out / 'tiers.yaml'}, plot in {out / 'frontier.png'}",
    ]
    console.print("".join(lines), markup=False, soft_wrap=True)


def _cells(tier: "StepReport") -> list[str]:
    from elastier_trainer.frontier.report import short_cost

    widths, layers = (" ".join(map(str, numbers)) for numbers in (tier.widths, tier.layers))
    return [tier.name, widths, layers, short_cost(tier.cost), f"{tier.judging:.4f}"]
