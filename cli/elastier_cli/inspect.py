"""`elastier inspect`: what is in a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, print_json
from elastier_cli.tier_table import tier_rows, tier_tables, weight_bytes


def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Show the tiers of a bundle: widths, size, quality and latency. Every file's digest is checked first.

    elastier inspect build/demo/bundle

    elastier inspect build/demo/bundle --json
    """
    from elastier_contract.bundle import open_bundle

    opened = open_bundle(bundle)
    if as_json:
        manifest = opened.manifest.model_dump(mode="json", exclude={"features", "files"})
        print_json(
            manifest
            | {
                "tiers": tier_rows(opened),
                "weight_bytes": weight_bytes(opened),
                "machine": opened.profile.machine.model_dump(),
            }
        )
    else:
        console.print(tier_tables(opened))
