"""The tiers of a bundle as rows for scripts and as tables for people."""

from dataclasses import replace
from typing import Any

from rich import filesize
from rich.console import Group
from rich.table import Table
from rich.text import Text

from elastier_contract.bundle import Bundle
from elastier_contract.profile import LatencyProfile, Quantile, uneven_points

SHOWN_ROWS = (1, 30, 200)
"""Batch sizes whose latency is shown."""

SHOWN_UNEVEN = 5
"""Points of a profile that are not isotonic, before they are only counted."""

_PARAMETER_BYTES = 4


def tier_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """One dictionary per tier, cheapest first; latencies in ms by rows of a batch, from the bundle's profile.

    The quality's keys are called after its metric: `auc`, `auc_low`, `auc_high`.
    """
    return [
        {
            "name": tier.name,
            "width": tier.widths[0] if len(set(tier.widths)) == 1 else list(tier.widths),
            "parameters": tier.parameters,
            "bytes": tier.parameters * _PARAMETER_BYTES,
            "own_bytes": _own_bytes(bundle, tier.name),
            "flops_per_row": tier.flops_per_row,
            "layers": list(tier.layers),
            "model_dim": tier.model_dim,
            "metric": tier.quality.metric,
            tier.quality.metric: tier.quality.value,
            f"{tier.quality.metric}_low": tier.quality.low,
            f"{tier.quality.metric}_high": tier.quality.high,
            "p50_ms": _latencies_ms(bundle, tier.name, "p50"),
            "p95_ms": _latencies_ms(bundle, tier.name, "p95"),
        }
        for tier in bundle.manifest.tiers
    ]


def tier_tables(bundle: Bundle) -> Group:
    """Two tables that fit a terminal, what the tiers are and how good, and how fast; below them, any warnings."""
    rows = tier_rows(bundle)
    warnings = [Text(f"warning: {line}", style="yellow") for line in ladder_warnings(bundle)]
    return Group(_quality_table(bundle, rows), latency_report(bundle, bundle.profile), *warnings)


def latency_report(bundle: Bundle, profile: LatencyProfile) -> Group:
    """A profile's table, and where it is not isotonic."""
    timed = replace(bundle, profile=profile)
    uneven = uneven_points(profile, [tier.name for tier in bundle.manifest.tiers])
    notes = [Text(f"not isotonic: {line}", style="dim") for line in uneven[:SHOWN_UNEVEN]]
    if len(uneven) > SHOWN_UNEVEN:
        notes.append(Text(f"not isotonic: {len(uneven) - SHOWN_UNEVEN} more points", style="dim"))
    return Group(_latency_table(timed, tier_rows(timed)), *notes)


def ladder_warnings(bundle: Bundle) -> list[str]:
    """One line for every tier that answers worse than a cheaper one: serving it would cost more for less."""
    lines = []
    best = bundle.manifest.tiers[0]
    for tier in bundle.manifest.tiers[1:]:
        if tier.quality.value >= best.quality.value:
            best = tier
        else:
            lines.append(
                f"{tier.name} costs more than {best.name} and is worse: "
                f"{metric_label(tier.quality.metric)} {tier.quality.value:.4f} against {best.quality.value:.4f}"
            )
    return lines


def metric_label(metric: str) -> str:
    """A metric as people write it."""
    return {"auc": "AUC", "r2": "R²"}.get(metric, metric)


def _quality_table(bundle: Bundle, rows: list[dict[str, Any]]) -> Table:
    manifest, quality = bundle.manifest, bundle.manifest.tiers[0].quality
    metric, label = quality.metric, metric_label(quality.metric)
    table = Table(
        title=f"{manifest.name} version {manifest.version}: {len(rows)} tiers",
        caption=f"{label} on {quality.rows:,} {quality.split} rows with its 95 % interval{_weights_note(bundle)}",
    )
    for header in ("tier", "width", "parameters", "size", "FLOPs a row", label, "interval"):
        table.add_column(header, justify="left" if header == "tier" else "right")
    for row in rows:
        table.add_row(
            row["name"],
            str(row["width"]),
            f"{row['parameters']:,}",
            filesize.decimal(row["bytes"]),
            f"{row['flops_per_row']:,}",
            f"{row[metric]:.4f}",
            f"{row[f'{metric}_low']:.4f}–{row[f'{metric}_high']:.4f}",
        )
    return table


def _latency_table(bundle: Bundle, rows: list[dict[str, Any]]) -> Table:
    profile, most = bundle.profile, SHOWN_ROWS[-1]
    table = Table(
        title="latency by rows of a request, p50 / p95 in ms",
        caption=f"{profile.machine.processor}, {profile.threads} thread(s), {profile.runs} runs each",
    )
    table.add_column("tier")
    for size in SHOWN_ROWS:
        table.add_column(f"{size} row{'s' if size > 1 else ''}", justify="right")
    table.add_column(f"speed at {most} rows", justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            *(f"{row['p50_ms'][size]:.3f} / {row['p95_ms'][size]:.3f}" for size in SHOWN_ROWS),
            f"{rows[-1]['p50_ms'][most] / row['p50_ms'][most]:.1f}×",
        )
    return table


def weight_bytes(bundle: Bundle) -> dict[str, int]:
    """Bytes of the weights file: raw and packed, and of these what more than one tier uses; 0 where not known."""
    found = {"raw": 0, "packed": 0, "shared": 0}
    for weight in bundle.manifest.weights:
        found[weight.kind] += weight.bytes
        found["shared"] += weight.bytes * (len(weight.tiers) > 1)
    return found


def _own_bytes(bundle: Bundle, tier: str) -> int | None:
    """Bytes of the weights file that no other tier uses; None where the bundle does not say."""
    weights = bundle.manifest.weights
    return sum(weight.bytes for weight in weights if weight.tiers == (tier,)) if weights else None


def _weights_note(bundle: Bundle) -> str:
    if not bundle.manifest.weights:
        return ""
    found = weight_bytes(bundle)
    raw, packed, shared = (filesize.decimal(found[key]) for key in ("raw", "packed", "shared"))
    return f"\nweights: {raw} raw, {packed} packed; {shared} of them shared, the rest a tier's own"


def _latencies_ms(bundle: Bundle, tier: str, quantile: Quantile) -> dict[int, float]:
    return {rows: round(bundle.profile.latency_ms(tier, rows, quantile), 4) for rows in SHOWN_ROWS}
