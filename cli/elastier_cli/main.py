"""The `elastier` command; each subcommand imports its package only when it runs."""

import sys

import typer
from rich.console import Console

from elastier_contract.errors import ElastierError

app = typer.Typer(
    name="elastier",
    help="Train nested models once, serve each request the best size its latency budget allows.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; an expected error is one line on stderr, never a traceback."""
    try:
        app()
    except ElastierError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
