"""`elastier loadtest`: open-loop load against a running server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elastier_cli.console import console, print_json, progress_bars
from elastier_contract.progress import Progress

if TYPE_CHECKING:
    from elastier_loadtest.scenario import Scenario


def loadtest(
    url: Annotated[str, typer.Argument(help="The server, e.g. http://127.0.0.1:8000.")],
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="The bundle it serves: makes random payloads, and tells what the tiers are worth.",
            show_default=False,
        ),
    ] = None,
    payloads: Annotated[
        Path | None,
        typer.Option(help="JSON-lines file of request bodies to send instead.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Name of the served model; the bundle's by default.", show_default=False),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second.", show_default=False)] = None,
    fraction_of_capacity: Annotated[
        float | None,
        typer.Option(help="Measure the capacity first, then offer this share of it.", show_default=False),
    ] = None,
    budgets: Annotated[
        str,
        typer.Option(
            help="Budgets in ms, or such as 3x in multiples of what the smallest tier takes (p95, one caller); "
            "each gets an equal share of the requests."
        ),
    ] = "1,3,10,50",
    rows: Annotated[int, typer.Option(help="Rows of a random payload.")] = 30,
    cv2: Annotated[
        float, typer.Option(help="Squared variation of the gaps: 1 is Poisson, more comes in bursts.")
    ] = 1.0,
    seconds: Annotated[float, typer.Option(help="Seconds of load that count.")] = 30.0,
    warm_up: Annotated[float, typer.Option(help="Seconds of load before them.")] = 2.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request is an error.")] = 10.0,
    connections: Annotated[int, typer.Option(help="Most connections at once.")] = 512,
    seed: Annotated[int, typer.Option(help="Same seed, same requests at the same times.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for report.json and requests.jsonl.", show_default=False),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, nothing else.")
    ] = False,
) -> None:
    """Load a running server, and say how many deadlines it met and how good its answers were.

    Requests come when they are due, whether or not earlier ones were answered, and latency counts from
    the moment a request was due: a server that stalls shows. Every answer is checked.

    Half of what the server can take, with the default budgets of 1, 3, 10 and 50 ms:

        elastier loadtest http://127.0.0.1:8000 --bundle build/demo/bundle --fraction-of-capacity 0.5

    200 requests a second of 100 rows each, in bursts, with the records of all requests kept:

        elastier loadtest http://127.0.0.1:8000 --bundle B --rate 200 --rows 100 --cv2 8 --out build/loadtest

    Budgets of 3, 10 and 30 times what the smallest tier takes at best:

        elastier loadtest http://127.0.0.1:8000 --bundle B --fraction-of-capacity 0.5 --budgets 3x,10x,30x

    Ctrl-C ends the load early and reports what was found until then. Exit code 1: a wrong answer or an error
    (refusals, 429 and 504, are neither); 2: the load test could not run.
    """
    from elastier_loadtest.launch import run_load_test, write_results
    from elastier_loadtest.scenario import make_scenario
    from elastier_loadtest.table import report_view

    scenario = make_scenario(
        url=url,
        bundle=bundle,
        payloads=payloads,
        model=model,
        rate=rate,
        fraction_of_capacity=fraction_of_capacity,
        budgets_ms=_numbers(budgets.replace("x", "")),
        rows=rows,
        cv2=cv2,
        seconds=seconds,
        warm_up_s=warm_up,
        timeout_s=timeout,
        connections=connections,
        seed=seed,
    )
    with progress_bars() as progress:
        if "x" in budgets:
            scenario = _with_multiples(scenario, budgets, progress)
        report, records = run_load_test(scenario, progress)
    if out is not None:
        write_results(out, report, records)
    if json_output:
        print_json(report.model_dump(mode="json"))
    else:
        console.print(report_view(report))
    if not report.ok:
        raise typer.Exit(1)


def _with_multiples(scenario: "Scenario", budgets: str, progress: Progress) -> "Scenario":
    """Budgets such as 3x, in ms, once it is known what the smallest tier takes."""
    from elastier_loadtest.launch import look_at_server
    from elastier_loadtest.pace import smallest_tier_p95_ms

    if not all(part.endswith("x") for part in budgets.split(",")):
        raise typer.BadParameter(
            f"expected all in ms or all such as 3x, got {budgets!r}", param_hint="--budgets"
        )
    look_at_server(scenario, None)
    p95_ms = smallest_tier_p95_ms(scenario, progress)
    budgets_ms = tuple(round(factor * p95_ms, 3) for factor in scenario.budgets_ms)
    return scenario.model_copy(update={"budgets_ms": budgets_ms})


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"expected milliseconds such as 1,3,10,50, or multiples such as 3x,10x, got {text!r}",
            param_hint="--budgets",
        ) from error
