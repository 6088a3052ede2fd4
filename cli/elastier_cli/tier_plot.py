"""The tiers of a bundle as a picture: quality over latency."""

import io
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from elastier_cli.tier_table import SHOWN_ROWS, metric_label, tier_rows
from elastier_contract import atomic
from elastier_contract.bundle import Bundle
from elastier_trainer.frontier.pareto import Point, pareto_front

BLUE, GREY = "#1f6fb4", "#9a9a9a"
FORMATS = ("png", "svg", "pdf")


def plot_tiers(path: Path, bundle: Bundle) -> None:
    """Write a picture of every tier's quality over its latency, with the Pareto front, atomically.

    Args:
        path: Its suffix says the format: `.png`, `.svg` or `.pdf`.
        bundle: An opened bundle.
    """
    rows, requests = tier_rows(bundle), (SHOWN_ROWS[0], SHOWN_ROWS[-1])
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    manifest = bundle.manifest
    figure.suptitle(f"{manifest.name} version {manifest.version}: {len(rows)} tiers", fontsize=11)
    for axes, request in zip(figure.subplots(1, 2, sharey=True), requests, strict=True):
        _draw(axes, rows, request)
    machine = bundle.profile.machine
    figure.supxlabel(
        f"p50 latency in ms; {machine.processor}, {bundle.profile.threads} thread(s), {bundle.profile.runs} runs",
        fontsize=9,
    )
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lstrip(".").lower(), dpi=120)
    atomic.write_file(path, content.getvalue())


def _draw(axes: Any, rows: list[dict[str, Any]], request: int) -> None:
    metric = rows[0]["metric"]
    points = [(row["p50_ms"][request], row[metric]) for row in rows]
    front = pareto_front([Point(*point) for point in points])
    reach = [
        [value - row[f"{metric}_low"] for (_, value), row in zip(points, rows, strict=True)],
        [row[f"{metric}_high"] - value for (_, value), row in zip(points, rows, strict=True)],
    ]
    x, y = zip(*points, strict=True)
    axes.errorbar(x, y, yerr=reach, fmt="none", ecolor=GREY, elinewidth=0.8, capsize=2, zorder=1)
    axes.step(
        *zip(*(points[i] for i in front), strict=True), where="post", color=BLUE, lw=1.2, label="Pareto front"
    )
    for index, (row, point) in enumerate(zip(rows, points, strict=True)):
        axes.plot(*point, "o", ms=5, color=BLUE if index in front else GREY)
        axes.annotate(row["name"], point, xytext=(5, -11), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"requests of {request} row{'s' if request > 1 else ''}", fontsize=10)
    axes.set_ylabel(f"{metric_label(metric)} with its 95 % interval")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
