"""A study's plots: the metric by width, the changes against baselines, cost against quality."""

import io
import itertools
from collections import defaultdict
from typing import Any

from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import ColorType

from elastier_trainer.study.comparisons import Row

DPI = 130
MARKERS = "osD^vP*X<>hd"
PALETTE = (*color_sequences["tab10"], *color_sequences["Dark2"])
ROLES = {"student": "student", "ta": "TA"}


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


def _colours(report: Row) -> dict[str, ColorType]:
    recipes = dict.fromkeys(row["recipe"] for row in report["means"])
    return dict(zip(recipes, itertools.cycle(PALETTE), strict=False))


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
    """Student on the left, TA on the right, a panel per baseline, a line per recipe, a colour per optimizer."""
    columns = {
        role: _by_baseline([row for row in report["paired"] if row["width"] == report[role]])
        for role in ("student", "ta")
    }
    columns = {role: panels for role, panels in columns.items() if panels}
    if not columns:
        return None
    untaught = {
        spec["name"] for spec in report["study"]["recipes"] if spec["recipe"] in ("alone", "alone_ta")
    }
    tallest = max(map(len, columns.values()))
    recipes = max(
        len({row["recipe"] for row in rows}) for found in columns.values() for rows in found.values()
    )
    figure = Figure(figsize=(5.6 * len(columns), tallest * (0.9 + 0.3 * recipes)), layout="constrained")
    grid = figure.subplots(tallest, len(columns), squeeze=False)
    for column, (role, found) in enumerate(columns.items()):
        for row, (baseline, rows) in enumerate(found.items()):
            axes = grid[row][column]
            # The paper compares with a network that has neither a teacher nor a TA.
            paper = report["paper"][role] if baseline in untaught else None
            _change_panel(axes, rows, report, paper)
            axes.set_title(f"{ROLES[role]} (width {report[role]}) against {baseline}", fontsize="medium")
        for axes in grid[len(found) :, column]:
            axes.set_axis_off()
    return figure


def _by_baseline(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["baseline"]].append(row)
    return found


def _change_panel(axes: Axes, rows: list[Row], report: Row, paper: float | None) -> None:
    recipes = list(dict.fromkeys(row["recipe"] for row in rows))
    optimizers = list(report["study"]["optimizers"])
    for index, optimizer in enumerate(optimizers):
        own = [row for row in rows if row["optimizer"] == optimizer]
        if own:
            axes.errorbar(
                [100 * row["relative_loss_change"] for row in own],
                [recipes.index(row["recipe"]) + 0.18 * (index - (len(optimizers) - 1) / 2) for row in own],
                xerr=[100 * _reach(row, "relative_loss_change") for row in own],
                fmt=MARKERS[index % len(MARKERS)],
                color=f"C{index % 10}",
                markersize=4,
                capsize=2,
                linewidth=1,
                label=optimizer,
            )
    axes.set_yticks(range(len(recipes)), recipes)
    axes.set_ylim(len(recipes) - 0.5, -0.5)
    axes.axvline(0, color="black", linewidth=0.8)
    if paper is not None:
        label = f"paper: {100 * paper:.2f} %".replace("-", "−")
        axes.axvline(100 * paper, color="grey", linestyle=":", linewidth=1, label=label)
    axes.legend(frameon=False, fontsize="x-small", loc="best")
    axes.set_xlabel("change of 1 − metric, %; left is better", fontsize="small")
    axes.grid(axis="x", alpha=0.3)


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
            )
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds of training all widths of a recipe, one seed")
    axes.set_ylabel(f"{', '.join(report['metric'])}: hollow student, full TA")
    axes.grid(alpha=0.3)
    key = [_key_entry(recipe, colour, "o") for recipe, colour in colours.items()]
    key += [_key_entry(optimizer, "black", marker) for optimizer, marker in markers.items()]
    figure.legend(handles=key, loc="outside right center", frameon=False, fontsize="small")
    return figure


def _key_entry(label: str, colour: ColorType, marker: str) -> Line2D:
    return Line2D([], [], color=colour, marker=marker, linestyle="none", label=label)
