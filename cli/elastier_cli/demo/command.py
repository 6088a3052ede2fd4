"""The `elastier demo` command."""

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from elastier_cli.console import console, progress_bars
from elastier_cli.demo.departures import Departures
from elastier_cli.demo.prepare import Workplace, prepare
from elastier_cli.demo.report import (
    print_how_to_go_on,
    print_metrics,
    print_requests,
    write_report,
)
from elastier_cli.demo.requests import Outcome, send_requests
from elastier_cli.demo.server_process import running_server
from elastier_cli.tier_table import tier_tables
from elastier_contract.bundle import Bundle

BUDGETS_MS = (1.0, 3.0, 10.0, 50.0)
REQUESTS = 200
ROWS = 200


def demo(
    once: Annotated[bool, typer.Option(help="Send the requests, write the report and end.")] = False,
    build: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("build"),
    config: Annotated[Path, typer.Option(help="The MatTA run's YAML.")] = Path("examples/flights.yaml"),
    port: Annotated[int, typer.Option(help="Port to serve on; 0 takes a free one.")] = 8000,
    install_seconds: Annotated[float, typer.Option(help="Reported as the time the installation took.")] = 0,
) -> None:
    """From flight data to served tiers: prepare, train, export, serve, ask with different budgets.

    What was made before is reused, as long as what it was made from is the same.

    elastier demo

    elastier demo --once --build elsewhere --config examples/flights.yaml
    """
    place = Workplace(folder=build / "demo")
    with progress_bars() as progress:
        bundle = prepare(place, config, progress)
    console.print(tier_tables(bundle))
    start = time.monotonic()
    with running_server(bundle.path, port=0 if once else port, log=place.folder / "server.log") as url:
        serve_seconds = time.monotonic() - start
        outcomes = _ask(url, bundle, place)
        print_requests(outcomes)
        print_metrics(url)
        if once:
            seconds = {
                "install": install_seconds,
                "train": place.ledger.seconds("data", "teacher", "train"),
                "export": place.ledger.seconds("export"),
                "serve": round(serve_seconds, 1),
            }
            write_report(build / "demo.json", bundle, outcomes, seconds)
        else:
            print_how_to_go_on(url, place.folder)
            _wait_for_ctrl_c()


def _ask(url: str, bundle: Bundle, place: Workplace) -> list[Outcome]:
    """Send the demo's requests, and leave a body to paste into curl."""
    if bundle.manifest.features is None:
        raise typer.BadParameter("the demo's bundle has no feature schema")
    departures = Departures.of_test_split(place.data, place.schema, bundle.manifest.features.columns)
    departures.write_predict_body(place.folder / "departures.json", count=ROWS)
    sent = send_requests(url, bundle.manifest, departures, budgets_ms=BUDGETS_MS, count=REQUESTS, rows=ROWS)
    outcomes = []
    with progress_bars() as progress:
        for outcome in sent:
            outcomes.append(outcome)
            progress("requests", len(outcomes), REQUESTS, "")
    return outcomes


def _wait_for_ctrl_c() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("\nstopping")
