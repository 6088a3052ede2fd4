"""The front as a picture: what chose on the left, what counts on the right."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from elastier_contract import atomic
from elastier_trainer.frontier.report import FrontierReport, StepReport, short_cost

GREY, BLUE, ORANGE = "#b8b8b8", "#1f6fb4", "#d9701a"


def plot_front(path: Path, report: FrontierReport) -> None:
    """Write a PNG of the front, the ladder and the tiers, atomically."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _choosing(left, report)
    _judging(right, report)
    for axes in (left, right):
        _doublings(axes, [step.cost for step in report.ladder])
        axes.set_xlabel(f"cost, {report.cost.unit}")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel(report.metric)
    figure.suptitle(f"{report.verdict}\n", fontsize=10)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    atomic.write_file(path, content.getvalue())


def _choosing(axes: Axes, report: FrontierReport) -> None:
    axes.set_title(f"the {report.choosing_rows:,} rows that chose", fontsize=10)
    costs, qualities = zip(*report.evaluated, strict=True)
    axes.scatter(costs, qualities, s=9, color=GREY, label=f"evaluated ({report.evaluations})", zorder=1)
    ladder = report.ladder
    axes.plot(
        *_curve([(step.cost, step.choosing) for step in ladder]), "o", color=ORANGE, label="uniform ladder"
    )
    steps = [(step.cost, step.choosing) for step in report.front]
    axes.step(*_curve(steps), where="post", color=BLUE, lw=1.4, label=f"front ({len(steps)})")


def _judging(axes: Axes, report: FrontierReport) -> None:
    axes.set_title(f"the {report.judging_rows:,} other rows, which judge", fontsize=10)
    ladder = [step for step in report.ladder if step.name in report.ladder_front]
    for steps, color, label in (
        (ladder, ORANGE, "uniform ladder"),
        (report.front, BLUE, "front, as chosen"),
    ):
        axes.step(*_curve(_judged(steps)), where="post", color=color, lw=1.4, label=label)
    axes.plot(*_curve(_judged(report.ladder)), "o", color=ORANGE)
    axes.plot(*_curve(_judged(report.tiers)), "D", ms=5, color=BLUE, label=f"tiers ({len(report.tiers)})")


def _doublings(axes: Axes, costs: Sequence[float]) -> None:
    axes.set_xscale("log", base=2)
    narrow = max(costs) < 8 * min(costs)
    axes.xaxis.set_major_locator(LogLocator(base=2, subs=(1.0, 1.25, 1.5, 1.75) if narrow else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: short_cost(cost)))
    axes.xaxis.set_minor_locator(NullLocator())


def _judged(steps: Sequence[StepReport]) -> list[tuple[float, float]]:
    return [(step.cost, step.judging) for step in steps]


def _curve(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [cost for cost, _ in points], [quality for _, quality in points]
