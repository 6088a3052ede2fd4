"""`elastier profile`: a bundle's latencies, measured anew."""

from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, print_json, progress_bars
from elastier_cli.tier_table import latency_report


def profile(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    threads: Annotated[int, typer.Option(help="Threads of one run.", min=1)] = 1,
    runs: Annotated[int, typer.Option(help="Timed runs per tier and batch size.", min=1)] = 100,
    keep: Annotated[bool, typer.Option("--keep", help="Only print it; the bundle keeps its own.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Time every tier at every batch size on this machine, and put the result into the bundle.

    Tiers are timed in turn, in random order, round by round, after an untimed run each: a machine that gets slower
    makes all of them slower. Says where a larger batch or a costlier tier was faster.

    elastier profile build/demo/bundle

    elastier profile build/demo/bundle --threads 2 --runs 300 --keep --json
    """
    from elastier_contract.bundle import open_bundle
    from elastier_contract.profile import uneven_points
    from elastier_exporter.profiling import Measuring, profile_bundle, replace_profile

    opened = open_bundle(bundle)
    with progress_bars() as progress:
        measured = profile_bundle(opened, Measuring(threads=threads, runs=runs), progress)
    if not keep:
        opened = replace_profile(opened, measured)
    if as_json:
        names = [tier.name for tier in opened.manifest.tiers]
        print_json(
            {"profile": measured.model_dump(mode="json"), "not_isotonic": uneven_points(measured, names)}
        )
    else:
        console.print(latency_report(opened, measured))
