"""`elastier repack`: a bundle's weights laid out for the machine that is here."""

from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, print_json, progress_bars
from elastier_cli.tier_table import weight_bytes
from elastier_contract.layout import DEFAULT_LAYOUT, Layout


def repack(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; by default it is replaced.", show_default=False)
    ] = None,
    layout: Annotated[
        Layout, typer.Option(help="`d` packs the weights, `a` takes packed ones out.")
    ] = DEFAULT_LAYOUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Pack a bundle's weights for the ONNX Runtime and the processor that are here.

    A server says so if they do not fit: it answers all the same, but every tier has a copy of its weights.

    elastier repack build/demo/bundle

    elastier repack build/demo/bundle --layout a --out build/small-bundle
    """
    from elastier_exporter.repack import repack_bundle

    with progress_bars() as progress:
        repacked = repack_bundle(bundle, out, layout=layout, progress=progress)
    found = weight_bytes(repacked)
    if as_json:
        print_json({"bundle": str(repacked.path), "layout": layout, "weight_bytes": found})
    else:
        console.print(
            f"{repacked.path}: layout {layout}, {found['raw']:,} bytes raw, {found['packed']:,} packed",
            markup=False,
            soft_wrap=True,
        )
