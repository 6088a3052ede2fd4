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
    table = Table("", "memory, MiB", title="memory over the process before")
    for key, label in (
        ("largest", "the largest tier alone"),
        ("shared", f"all {tiers} tiers, shared"),
        ("separate", f"all {tiers} tiers, separate files"),
        ("processes", f"{found['processes']} processes of all tiers"),
    ):
        table.add_row(label, f"{found[f'pss_{key}_bytes'] / MIB:.1f}")
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
    ratios = ", ".join(f"{ratio} at {rows} rows" for rows, ratio in found["latency_ratio"].items())
    speedup = ", ".join(f"{ratio}× at {rows} rows" for rows, ratio in found["speedup_smallest"].items())
    lines = [
        f"all tiers to the largest alone: {found['pss_ratio']}",
        f"{found['processes']} processes to one: {found['pss_processes_ratio']}",
        f"latency, shared to separate, median over tiers: {ratios}; worst {found['latency_ratio_worst']}",
        f"loading a tier: {found['load_seconds_per_tier'] * 1e3:.1f} ms, "
        f"from a file of its own {found['load_seconds_per_separate_tier'] * 1e3:.1f} ms",
        f"the smallest tier is faster than the largest {speedup}, "
        f"with 1/{found['flop_ratio_smallest']} of the operations",
        f"weights.bin to the parameters of the largest tier: {found['weights_ratio']}; "
        f"largest graph {found['graph_bytes_max']:,} bytes",
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)
