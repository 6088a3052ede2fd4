"""A study's plots: the metric by width, the changes against baselines, cost against quality."""

import io
import itertools
from collections import defaultdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from elastier_trainer.study.comparisons import Row

DPI = 130
MARKERS = "osD^vP*X<>"


def draw_plots(report: Row) -> dict[str, bytes]:
    """File name → PNG; only plots that the report has figures for."""
    figures = {
        "widths.png": _widths(report),
        "changes.png": _changes(report),
        "cost.png": _cost(report),
    }
    return {name: _png(figure) for name, figure in figures.items() if figure is not None}


def _png(figure: Figure) -> bytes:
    target = io.BytesIO()
    # No date in the file: the same figures give the same bytes.
    figure.savefig(target, format="png", dpi=DPI, metadata={"Software": None})
    return target.getvalue()


def _colours(report: Row) -> dict[str, str]:
    recipes = dict.fromkeys(row["recipe"] for row in report["means"])
    return {recipe: f"C{index % 10}" for index, recipe in enumerate(recipes)}


def _label(row: Row, report: Row) -> str:
    return (
        row["recipe"] if len(report["study"]["optimizers"]) == 1 else f"{row['recipe']}, {row['optimizer']}"
    )


def _reach(row: Row, name: str) -> float:
    return 0.0 if row["high"] is None else row["high"] - row[name]


def _widths(report: Row) -> Figure | None:
    """A panel per optimizer, a line per recipe."""
    rows = [row for row in report["means"] if isinstance(row["width"], int)]
    optimizers = list(dict.fromkeys(row["optimizer"] for row in rows))
    if not rows:
        return None
    figure = Figure(figsize=(1.8 + 4.6 * len(optimizers), 4.6), layout="constrained")
    panels = figure.subplots(1, len(optimizers), sharey=True, squeeze=False)[0]
    colours = _colours(report)
    shown: dict[str, Any] = {}
    for axes, optimizer in zip(panels, optimizers, strict=True):
        for index, (recipe, colour) in enumerate(colours.items()):
            line = sorted(
                (row for row in rows if (row["recipe"], row["optimizer"]) == (recipe, optimizer)),
                key=lambda row: row["width"],
            )
            if line:
                shown[recipe] = axes.errorbar(
                    # Beside each other, not on top of each other.
                    [row["width"] * 1.035 ** (index - len(colours) / 2) for row in line],
                    [row["value"] for row in line],
                    yerr=[_reach(row, "value") for row in line],
                    color=colour,
                    marker=MARKERS[index % len(MARKERS)],
                    markersize=4,
                    linewidth=1,
                    capsize=2,
                )
        _width_axis(axes, sorted({row["width"] for row in rows}))
        axes.set_title(optimizer)
    panels[0].set_ylabel(f"{', '.join(report['metric'])}, test rows")
    figure.legend(list(shown.values()), list(shown), loc="outside right center", frameon=False)
    return figure


def _width_axis(axes: Axes, widths: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("width, hidden units a block")
    axes.grid(alpha=0.3)


def _changes(report: Row) -> Figure | None:
    """A panel for the student and one for the TA; a point per recipe, optimizer and baseline."""
    ends = {"student": report["student"], "TA": report["ta"]}
    groups = {
        role: [row for row in report["paired"] if row["width"] == width] for role, width in ends.items()
    }
    groups = {role: rows for role, rows in groups.items() if rows}
    if not groups:
        return None
    tallest = max(map(len, groups.values()))
    figure = Figure(figsize=(6.4 * len(groups), 1.4 + 0.26 * tallest), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    baselines = {row["baseline"]: None for rows in groups.values() for row in rows}
    colours = {baseline: f"C{index}" for index, baseline in enumerate(baselines)}
    for axes, (role, rows) in zip(panels, groups.items(), strict=True):
        for height, row in enumerate(rows):
            axes.errorbar(
                100 * row["relative_loss_change"],
                height,
                xerr=100 * _reach(row, "relative_loss_change"),
                fmt="o",
                markersize=4,
                capsize=2,
                color=colours[row["baseline"]],
            )
        axes.set_yticks(range(len(rows)), [f"{_label(row, report)} − {row['baseline']}" for row in rows])
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.8)
        paper = 100 * report["paper"]["student" if role == "student" else "ta"]
        axes.axvline(paper, color="grey", linestyle=":", linewidth=1, label=f"paper's {role}: {paper:.2f} %")
        axes.legend(frameon=False, fontsize="small")
        axes.set_title(f"{role} (width {ends[role]})")
        axes.set_xlabel("change of 1 − metric, %; left is better")
        axes.grid(axis="x", alpha=0.3)
    return figure


def _cost(report: Row) -> Figure | None:
    """Seconds of a recipe against the metric: hollow for the student, full for the TA."""
    seconds = {(row["recipe"], row["optimizer"]): row for row in report["cost"]}
    points: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in report["means"]:
        if row["width"] in (report["student"], report["ta"]):
            points[row["recipe"], row["optimizer"]].append(row)
    if not points:
        return None
    figure = Figure(figsize=(7.6, 4.6), layout="constrained")
    axes = figure.subplots()
    colours = _colours(report)
    markers = dict(zip(report["study"]["optimizers"], itertools.cycle(MARKERS), strict=False))
    for (recipe, optimizer), rows in points.items():
        for row in rows:
            hollow = row["width"] == report["student"] != report["ta"]
            axes.errorbar(
                seconds[recipe, optimizer]["train_seconds"],
                row["value"],
                yerr=_reach(row, "value"),
                marker=markers[optimizer],
                color=colours[recipe],
                markerfacecolor="white" if hollow else colours[recipe],
                linestyle="none",
                markersize=6,
                label=None if hollow and len(rows) > 1 else _label(row, report),
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("seconds of training all widths of a recipe, one seed")
    axes.set_ylabel(f"{', '.join(report['metric'])}: hollow student, full TA")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right center", frameon=False, fontsize="small")
    return figure
