"""The `elastier` command; each subcommand imports its package only when it runs."""

import sys

import typer

from elastier_cli import data, study
from elastier_cli.bench import bench_bundle
from elastier_cli.console import print_error
from elastier_cli.demo.command import demo
from elastier_cli.export import export
from elastier_cli.frontier import frontier
from elastier_cli.inspect import inspect
from elastier_cli.loadtest import loadtest
from elastier_cli.pack import pack, unpack
from elastier_cli.profile import profile
from elastier_cli.repack import repack
from elastier_cli.serve import serve
from elastier_cli.train import calm_threads, train
from elastier_contract.errors import ElastierError

app = typer.Typer(
    name="elastier",
    help="Train nested models once, serve each request the best size its latency budget allows.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(study.app, name="study")
for command in (
    train,
    frontier,
    export,
    inspect,
    profile,
    repack,
    pack,
    unpack,
    bench_bundle,
    serve,
    loadtest,
    demo,
):
    app.command()(command)


def main() -> None:
    """Run the command line; an expected error is one line on stderr, never a traceback."""
    calm_threads()
    try:
        app()
    except ElastierError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # no space, no permission, a file in a folder's place: said with the path
        print_error(str(error))
        sys.exit(1)
