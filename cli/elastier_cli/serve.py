"""`elastier serve`: answer requests over HTTP."""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(help="Bundle folders; of one model's versions the last is the default."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes a free one and prints it. [default: 8000]")
    ] = None,
    experiments: Annotated[Path | None, typer.Option(help="The experiments file.")] = None,
    default_budget_ms: Annotated[
        float | None, typer.Option(help="Budget of requests that name none. [default: 50]")
    ] = None,
    max_budget_ms: Annotated[
        float | None, typer.Option(help="Largest budget a request may name. [default: 60000]")
    ] = None,
    drain_seconds: Annotated[
        float | None, typer.Option(help="Time for running requests after SIGTERM. [default: 30]")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of one run. [default: 1]")] = None,
    policy: Annotated[
        str | None, typer.Option(help="Scheduling policy: guarded, greedy or fixed:TIER. [default: guarded]")
    ] = None,
    reprofile: Annotated[
        str | None,
        typer.Option(help="Measure latencies anew at start: auto, always, never. [default: auto]"),
    ] = None,
    realtime: Annotated[
        bool | None,
        typer.Option(
            "--realtime/--no-realtime",
            help="Schedule before all ordinary processes, for tight budgets on shared cores; needs CAP_SYS_NICE.",
            show_default=False,
        ),
    ] = None,
    max_rows: Annotated[int | None, typer.Option(help="Rows one request may carry. [default: 1024]")] = None,
    max_body_mb: Annotated[float | None, typer.Option(help="Largest body, in MiB. [default: 8]")] = None,
) -> None:
    """Serve bundles over HTTP; each request gets the best tier that still meets its budget.

    Every option is an environment variable too (ELASTIER_PORT, ELASTIER_DEFAULT_BUDGET_MS, …); a flag wins.

    [bold]Examples[/]

    elastier serve build/bundle

    elastier serve build/bundle --port 0 --default-budget-ms 10

    elastier serve bundles/v1 bundles/v2 --experiments experiments.yaml

    The API and examples of this very bundle are then at /docs, metrics at /metrics.
    """
    from elastier_server.main import serve as run
    from elastier_server.settings import load_settings

    run(
        load_settings(
            bundles=tuple(bundles) if bundles else None,
            host=host,
            port=port,
            experiments=experiments,
            default_budget_ms=default_budget_ms,
            max_budget_ms=max_budget_ms,
            drain_seconds=drain_seconds,
            threads=threads,
            policy=policy,
            reprofile=reprofile,
            realtime=realtime,
            max_rows=max_rows,
            max_body_bytes=None if max_body_mb is None else int(max_body_mb * 2**20),
        )
    )
