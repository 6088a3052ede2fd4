"""`elastier inspect`: what is in a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elastier_cli.console import console, print_json
from elastier_cli.tier_table import tier_rows, tier_tables, weight_bytes

if TYPE_CHECKING:
    from elastier_contract.bundle import Bundle


def inspect(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Write a picture of quality over latency: a .png, .svg or .pdf.", show_default=False
        ),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Open and run every tier too.")] = False,
) -> None:
    """Show the tiers of a bundle: widths, size, quality and latency. Every file's digest is checked first.

    elastier inspect build/demo/bundle

    elastier inspect build/demo/bundle --json

    elastier inspect build/demo/bundle --verify --plot tiers.png
    """
    from elastier_contract.bundle import open_bundle

    if plot is not None:
        from elastier_cli.tier_plot import FORMATS, plot_tiers

        if plot.suffix.lstrip(".").lower() not in FORMATS:
            raise typer.BadParameter(f"expected a file that ends in {', '.join(FORMATS)}, got {plot.name}")
    opened = open_bundle(bundle)
    verified = _verify(opened) if verify else None
    if plot is not None:
        plot_tiers(plot, opened)
    if as_json:
        manifest = opened.manifest.model_dump(mode="json", exclude={"features", "files", "sha256"})
        print_json(
            manifest
            | {
                "tiers": tier_rows(opened),
                "weight_bytes": weight_bytes(opened),
                "machine": opened.profile.machine.model_dump(),
            }
            | ({} if verified is None else {"verified": verified})
        )
        return
    console.print(tier_tables(opened))
    if verified is not None:
        shared = (
            "weights shared" if verified["weights_shared"] else "packed weights do not fit: `elastier repack`"
        )
        console.print(
            f"verified: {verified['files']} files as the manifest says, {verified['tiers']} tiers opened and run, "
            f"{shared}",
            markup=False,
            soft_wrap=True,
        )
    if plot is not None:
        console.print(f"plot in {plot}", markup=False, soft_wrap=True)


def _verify(bundle: "Bundle") -> dict[str, Any]:
    """Open and run every tier on a row, as the server does; digests are known to be right."""
    import numpy as np

    from elastier_server.engine.ort import open_engine
    from elastier_server.engine.packed import weights_are_shared

    engine = open_engine(bundle, threads=1)
    inputs = bundle.manifest.signature.sample_inputs(1, np.random.default_rng(0))
    for index in range(len(bundle.manifest.tiers)):
        engine.run(index, inputs)
    return {
        "files": len(bundle.manifest.files),
        "tiers": len(bundle.manifest.tiers),
        "weights_shared": weights_are_shared(bundle),
    }
