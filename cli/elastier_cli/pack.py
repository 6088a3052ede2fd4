"""`elastier pack` and `elastier unpack`: ONNX files into a bundle, and a tier out of one."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, print_json, progress_bars
from elastier_cli.tier_table import ladder_warnings, tier_rows, tier_tables
from elastier_contract.layout import DEFAULT_LAYOUT, Layout


def pack(
    file: Annotated[Path, typer.Argument(help="The tiers.yaml: see docs/own-onnx.md.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="The bundle's folder; an older bundle there is replaced.", show_default=False)
    ],
    layout: Annotated[
        Layout, typer.Option(help="`d` packs weights for speed, `a` keeps them raw, half the disk.")
    ] = DEFAULT_LAYOUT,
    threads: Annotated[int, typer.Option(help="Threads of one run, for the latency profile.", min=1)] = 1,
    runs: Annotated[int, typer.Option(help="Timed runs per tier and batch size.", min=1)] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Make a bundle of ONNX files that were exported by anything. Needs neither torch nor a training run.

    All files need the same inputs and outputs. What they have in common is stored once. A tier that does not
    answer as its file does is refused, and nothing is written.

    elastier pack tiers.yaml --out build/bundle
    """
    from elastier_exporter.pack import pack_bundle
    from elastier_exporter.profiling import Measuring

    with progress_bars() as progress:
        bundle = pack_bundle(
            file,
            out,
            layout=layout,
            measuring=Measuring(threads=threads, runs=runs),
            command=shlex.join(["elastier", *sys.argv[1:]]),
            progress=progress,
        )
    if as_json:
        print_json(
            {"bundle": str(bundle.path), "tiers": tier_rows(bundle), "warnings": ladder_warnings(bundle)}
        )
    else:
        console.print(tier_tables(bundle))


def unpack(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    tier: Annotated[str, typer.Option(help="The tier's name.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(help="The ONNX file; by default the tier's name, here.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Write a tier as one ordinary ONNX file, which any runtime loads.

    elastier unpack build/demo/bundle --tier w64

    elastier unpack build/demo/bundle --tier w64 --out small.onnx
    """
    from elastier_exporter.unpack import unpack_tier

    written = unpack_tier(bundle, tier, Path(f"{tier}.onnx") if out is None else out)
    if as_json:
        print_json({"tier": tier, "file": str(written), "bytes": written.stat().st_size})
    else:
        console.print(f"{written}: {written.stat().st_size:,} bytes", markup=False, soft_wrap=True)
