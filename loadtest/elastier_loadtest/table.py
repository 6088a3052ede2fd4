"""The report for people: rich tables."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from elastier_loadtest.report import Figures, Report

_NOTHING = "–"


def report_view(report: Report) -> RenderableType:
    """Everything of the report that fits a screen of 80 columns."""
    tables = (_outcomes_table(report), _latency_table(report), _tiers_table(report))
    return Group(*tables, *map(Text.from_markup, _lines(report)))


def _outcomes_table(report: Report) -> Table:
    title = (
        f"{report.rate:,.1f} requests a second ({report.arrivals}) for {report.seconds:.1f} s"
        f"{', interrupted' if report.interrupted else ''}"
    )
    headers = ("sent", "answers", "429", "504", "errors", "met", "client", "quality")
    return _by_budget(report, title, headers, _outcomes)


def _latency_table(report: Report) -> Table:
    headers = ("p50", "p90", "p95", "p99", "max", "server p50", "server p99")
    return _by_budget(report, "latency of the answers, in ms, from when they were due", headers, _latencies)


def _by_budget(
    report: Report, title: str, headers: Sequence[str], cells: Callable[[Figures], Iterator[str]]
) -> Table:
    table = Table(title=title, title_justify="left")
    for header in ("budget", *headers):
        table.add_column(header, justify="right")
    for figures in report.budgets:
        table.add_row(f"{figures.budget_ms:.3g} ms", *cells(figures))
    table.add_section()
    table.add_row("all", *cells(report.overall))
    return table


def _outcomes(figures: Figures) -> Iterator[str]:
    yield f"{figures.requests:,}"
    yield f"{figures.answered:,}"
    yield f"{figures.refused.get('429', 0):,}"
    yield f"{figures.refused.get('504', 0):,}"
    yield f"{sum(figures.errors.values()):,}"
    yield _share(figures.met)
    yield _share(figures.met_by_client)
    yield _NOTHING if figures.effective_accuracy is None else f"{figures.effective_accuracy:.3f}"


def _latencies(figures: Figures) -> Iterator[str]:
    latency, server = figures.latency_ms, figures.server_ms
    if latency is None:
        yield from [_NOTHING] * 5
    else:
        yield from (f"{ms:.2f}" for ms in (latency.p50, latency.p90, latency.p95, latency.p99, latency.max))
    yield from [_NOTHING] * 2 if server is None else (f"{server.p50:.2f}", f"{server.p99:.2f}")


def _tiers_table(report: Report) -> Table:
    tiers = sorted(report.overall.tier_shares, key=lambda name: (len(name), name))
    table = Table(title="tier shares of the answers", title_justify="left")
    table.add_column("budget", justify="right")
    for tier in tiers:
        table.add_column(tier, justify="right")
    for figures in (*report.budgets, report.overall):
        budget = "all" if figures.budget_ms is None else f"{figures.budget_ms:.3g} ms"
        table.add_row(budget, *(_share(figures.tier_shares.get(tier, 0.0)) for tier in tiers))
    return table


def _lines(report: Report) -> Iterator[str]:
    if report.capacity is not None:
        capacity = report.capacity
        yield (
            f"capacity: {capacity.rate:,.1f} requests a second with {capacity.connections} connections: "
            f"{capacity.means}"
        )
    lag = report.client.lag_ms
    if lag is not None:
        yield (
            f"client: sent p50 {lag.p50:.2f} ms, p99 {lag.p99:.2f} ms after they were due, used "
            f"{report.client.cpu_share:.0%} of a core, {report.client.concurrent_requests} requests at once"
        )
    if report.overall.effective_accuracy is None:
        yield "effective accuracy: unknown, since no bundle tells what the tiers are worth"
    for warning in report.client.warnings:
        yield f"[yellow]warning:[/] {warning}"
    for error, count in report.overall.errors.items():
        yield f"[red]error:[/] {count:,} × {escape(error)}"
    for violation, count in report.violations.items():
        yield f"[red]wrong answer:[/] {count:,} × {escape(violation)}"
    if report.ok:
        yield "[green]every answer was right[/]"


def _share(share: float | None) -> str:
    return _NOTHING if share is None else f"{share:.1%}"
