"""`elastier export`: a trained run as a bundle of tiers."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, print_json, progress_bars
from elastier_cli.tier_table import ladder_warnings, tier_rows, tier_tables
from elastier_contract.layout import DEFAULT_LAYOUT, Layout


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a finished training run.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; an older bundle there is replaced.")],
    students: Annotated[
        str | None,
        typer.Option(help="Students to export, such as w8,w64,w512; all that were trained by default."),
    ] = None,
    tiers: Annotated[
        Path | None,
        typer.Option(help="A tier file in place of the ladder, as `elastier frontier` writes it."),
    ] = None,
    layout: Annotated[
        Layout,
        typer.Option(
            help="How weights lie in the bundle: `d` packed for speed, twice the disk; `a` raw, slower, half the disk."
        ),
    ] = DEFAULT_LAYOUT,
    name: Annotated[str | None, typer.Option(help="The model's name; the run folder's by default.")] = None,
    version: Annotated[str, typer.Option(help="The model's version.")] = "1",
    threads: Annotated[int, typer.Option(help="Threads of one run, for the latency profile.", min=1)] = 1,
    runs: Annotated[int, typer.Option(help="Timed runs per tier and batch size.", min=1)] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Export every size of a trained run into one bundle, whose tiers share one weights file.

    A tier that does not answer as torch does is refused, and nothing is written. A tier that is worse than a
    cheaper one is written, with a warning.

    elastier export build/run --out build/bundle

    elastier export build/run --out build/bundle --students w8,w64,w512 --name flights --version 2

    elastier export build/run --out build/bundle --tiers build/frontier/tiers.yaml
    """
    from elastier_exporter.export import ExportOptions, export_bundle
    from elastier_exporter.profiling import Measuring

    if students is not None and tiers is not None:
        raise typer.BadParameter("--students chooses from the ladder, --tiers replaces it: give one of them")
    options = ExportOptions(
        name=name,
        version=version,
        students=None if students is None else tuple(students.split(",")),
        tiers=tiers,
        layout=layout,
        measuring=Measuring(threads=threads, runs=runs),
        command=shlex.join(["elastier", *sys.argv[1:]]),
    )
    with progress_bars() as progress:
        bundle = export_bundle(run, out, options=options, progress=progress)
    if as_json:
        print_json(
            {"bundle": str(bundle.path), "tiers": tier_rows(bundle), "warnings": ladder_warnings(bundle)}
        )
    else:
        console.print(tier_tables(bundle))
