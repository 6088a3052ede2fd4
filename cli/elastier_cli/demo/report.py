"""What the demo shows of its requests, and the file it leaves for scripts."""

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from rich.table import Table

from elastier_cli.console import console
from elastier_cli.demo.requests import Outcome
from elastier_cli.tier_table import tier_rows
from elastier_contract import atomic
from elastier_contract.bundle import Bundle
from elastier_contract.errors import ElastierError

REPORT_ROWS = 200
"""Batch size whose latency the report gives as the tier's own."""


class OneTierError(ElastierError):
    """All requests were answered by one tier: budgets made no difference."""


def print_requests(outcomes: list[Outcome]) -> None:
    """Print per budget which tiers answered, how long it took, and how many deadlines were met."""
    table = Table(title=f"{len(outcomes)} requests of {outcomes[0].rows} departures, budgets in turn")
    for header in (
        "budget",
        "tiers that answered",
        "not answered",
        "server p50",
        "client p50",
        "deadlines met",
    ):
        table.add_column(header, justify="left" if header == "tiers that answered" else "right")
    for budget_ms in sorted({outcome.budget_ms for outcome in outcomes}):
        group = [outcome for outcome in outcomes if outcome.budget_ms == budget_ms]
        answered = [outcome for outcome in group if outcome.tier is not None]
        tiers = Counter(outcome.tier for outcome in answered).most_common()
        missed = Counter(outcome.reason for outcome in group if outcome.tier is None)
        table.add_row(
            f"{budget_ms:g} ms",
            ", ".join(f"{tier} ×{count}" for tier, count in tiers) or "–",
            ", ".join(f"{reason} ×{count}" for reason, count in missed.items()) or "–",
            _median_ms([outcome.server_ms for outcome in answered if outcome.server_ms is not None]),
            _median_ms([outcome.latency_ms for outcome in answered]),
            f"{sum(outcome.deadline_met for outcome in group) / len(group):.0%}",
        )
    console.print(table)


def print_metrics(url: str) -> None:
    """Print the server's own count of requests by tier and outcome."""
    console.print("\n[bold]what the server counted[/] (GET /metrics)")
    for line in httpx.get(f"{url}/metrics", timeout=10).text.splitlines():
        if line.startswith("elastier_requests_total{") and not line.endswith(" 0.0"):
            console.print(f"  {line}", markup=False, soft_wrap=True)


def print_how_to_go_on(url: str, folder: Path) -> None:
    """Print three lines to paste, and where the pages are."""
    body = folder / "departures.json"
    console.print("\n[bold]paste one of these[/] (200 departures; the answer's end says which tier and why)")
    for budget_ms in (5, 50):
        console.print(
            f"  curl -s {url}/v1/predict -H 'X-Latency-Budget-Ms: {budget_ms}' -d @{body} | grep -o '\"tier\".*'",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"  curl -s {url}/metrics | grep elastier_requests_total", markup=False, soft_wrap=True)
    console.print(f"\nmetrics {url}/metrics   API pages {url}/docs   load test: make loadtest URL={url}")
    console.print("Ctrl-C stops the server.")


def write_report(path: Path, bundle: Bundle, outcomes: list[Outcome], seconds: dict[str, float]) -> None:
    """Write the demo's figures as JSON.

    Raises:
        OneTierError: Fewer than two tiers answered.
    """
    document: dict[str, Any] = {
        "tiers": [_tier(row) for row in tier_rows(bundle)],
        "requests": [outcome.as_dict() for outcome in outcomes],
        "seconds": seconds,
    }
    atomic.write_file(path, json.dumps(document, indent=1, allow_nan=False).encode())
    console.print(f"\nwrote {path}")
    used = {outcome.tier for outcome in outcomes if outcome.tier is not None}
    if len(used) < 2:
        raise OneTierError(f"expected at least two tiers to answer, got {sorted(used)}")


def _tier(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "p50_ms": row["p50_ms"][REPORT_ROWS],
        "p95_ms": row["p95_ms"][REPORT_ROWS],
        "p50_ms_by_rows": row["p50_ms"],
        "p95_ms_by_rows": row["p95_ms"],
    }


def _median_ms(values: list[float]) -> str:
    return f"{median(values):.2f} ms" if values else "–"
