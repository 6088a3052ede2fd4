"""`elastier bench-bundle`: what sharing is worth in memory, load time and latency."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from elastier_cli.console import console, print_json, progress_bars

MIB = 2**20


def bench_bundle(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    runs: Annotated[int, typer.Option(help="Timed runs per tier and number of rows.", min=1)] = 200,
    repeats: Annotated[int, typer.Option(help="Fresh processes for every memory figure.", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="Threads of one run.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Measure the memory of all tiers against the largest alone and against separate files, and their latency.

    Each figure comes from fresh processes; shared and separate tiers are timed in turn in one. Memory is PSS, which
    only Linux tells.

    elastier bench-bundle build/demo/bundle

    elastier bench-bundle build/demo/bundle --runs 500 --json
    """
    from elastier_contract.bundle import open_bundle
    from elastier_exporter.bench import bench_bundle as measure

    opened = open_bundle(bundle)
    with progress_bars() as progress:
        found = measure(opened, runs=runs, threads=threads, repeats=repeats, progress=progress)
    if as_json:
        print_json(found)
    else:
        _show(found, len(opened.manifest.tiers))


def _show(found: dict[str, Any], tiers: int) -> None:
    memory, ratios, processes = found["memory"], found["ratios"], found["processes"]
    table = Table("", "memory, MiB", "load a tier, ms", title="memory over the process before")
    for key, label in (
        ("largest", "the largest tier alone"),
        ("shared", f"all {tiers} tiers, shared"),
        ("separate", f"all {tiers} tiers, separate files"),
    ):
        table.add_row(label, f"{memory[key]['pss_bytes'] / MIB:.1f}", f"{memory[key]['load_s'] * 1e3:.1f}")
    table.add_row(f"{processes['count']} processes of all tiers", f"{processes['pss_bytes'] / MIB:.1f}", "")
    times = Table("tier", "rows", "shared, ms", "separate, ms", "ratio", title="median latency")
    for row in found["latency"]:
        times.add_row(
            row["tier"],
            str(row["rows"]),
            f"{row['shared_p50_ms']:.4f}",
            f"{row['separate_p50_ms']:.4f}",
            f"{row['ratio']:.3f}" + ("" if row["same_bits"] else ", other answers"),
        )
    console.print(table, times)
    weights = found["weights"]
    console.print(
        f"all tiers to the largest alone: {ratios['shared_to_largest']}\n"
        f"{processes['count']} processes to one: {ratios['processes_to_one']}\n"
        f"latency, shared to separate: median {ratios['latency']['median']}, largest {ratios['latency']['largest']}\n"
        f"weights.bin to the raw weights of the largest tier: {weights['file_to_ta_raw']}; "
        f"largest graph {weights['largest_graph_bytes']:,} bytes",
        markup=False,
        soft_wrap=True,
    )
