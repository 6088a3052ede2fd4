"""A study's report as markdown: a pure function of `study.json`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import yaml

from elastier_trainer.study.comparisons import Row
from elastier_trainer.study.report import errors_of

PLOTS = {
    "widths.png": "Metric by width, with 95 % intervals over seeds",
    "changes.png": "Relative change of loss of student and TA against the baselines, with 95 % intervals",
    "cost.png": "Training time against the metric of the student and of the TA",
}


def markdown(report: Row, plots: Sequence[str] = ()) -> str:
    """The whole of `study.md`; `plots` are the files of `PLOTS` that exist beside it."""
    parts = [
        _head(report),
        _faults(report),
        *_section("Metric per width", _metric_note(report), _means(report)),
        *(f"![{PLOTS[name]}]({name})" for name in plots),
        *_section("Paired changes of loss", _paired_note(report), _changes(report["paired"], report)),
        *_section("The same in points of the metric", POINTS_NOTE, _differences(report["paired"], report)),
        *_section("Across optimizers", ACROSS_NOTE, _changes(report["across_optimizers"], report)),
        *_section("Is the ladder even?", LADDER_NOTE, _ladders(report)),
        *_section("More than the sum of both?", SUPER_NOTE, _super_additivity(report)),
        *_section("Mix'n'Match", MIXES_NOTE, _mixes(report)),
        *_section("Training cost", _cost_note(report), _cost(report)),
        *_section("Tuned settings", TUNED_NOTE, _tuned(report)),
        *_section("Batches and versions", _batches(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


POINTS_NOTE = "The recipe less the baseline; plus is better."
ACROSS_NOTE = (
    "Change of 1 − metric from the baseline with the study's first optimizer to the recipe with another."
)
LADDER_NOTE = "Each width less the next smaller one, paired by seed: even where every interval is above 0."
SUPER_NOTE = (
    "(recipe with optimizer − baseline with the reference optimizer) less the gains of recipe alone and of "
    "optimizer alone, in points of the metric, paired by seed. An interval above 0 confirms super-additivity, "
    "one below 0 refutes it, one around 0 leaves it open."
)
MIXES_NOTE = (
    "Area under the best quality at every cost, in points of the metric × doublings of cost: the front of per-block "
    "mixes less the uniform ladder of the same run, and as many chosen mixes as the ladder has tiers less the ladder. "
    "Chosen on one half of the validation rows, judged on the other."
)
TUNED_NOTE = (
    "Chosen by the mean validation metric over a run's widths, on a seed that is not reported, with the same "
    "number of trials for every recipe and optimizer."
)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table; empty without rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    if not lines:
        return ""
    rule = "|" + "|".join("---" for _ in heads) + "|"
    return "\n".join(["| " + " | ".join(heads) + " |", rule, *lines])


def percent(value: float) -> str:
    """A share with sign, such as −8.05 %."""
    return f"{value:+.2%}".replace("-", "−").replace("%", " %")


def _section(title: str, *parts: str) -> Iterator[str]:
    if parts[-1]:
        yield f"## {title}"
        yield from parts


def _head(report: Row) -> str:
    study = report["study"]
    seeds, optimizers = ", ".join(map(str, study["seeds"])), ", ".join(study["optimizers"])
    command = f"\n\n```\n{report['command']}\n```" if report["command"] else ""
    return (
        f"# Study: {report['name']}{command}\n\n"
        f"Seeds {seeds}; optimizers {optimizers}; reported on test rows, which no choice was made on. Intervals "
        "are 95 % intervals of Student's t over seeds: they speak of labelled rows, order of batches and fresh "
        "weights, not of another sample of test rows, and are not corrected for their number."
    )


def _faults(report: Row) -> str:
    lines = [f"- **Error:** {error}" for error in errors_of(report)]
    if missing := report["missing"]:
        lines.append(f"- Not done yet: {len(missing)} runs, such as {missing[0]}; the same command goes on.")
    lines += [f"- Trial {trial['job']} failed: {trial['error']}" for trial in report["failed_trials"]]
    return "\n".join(lines)


def _metric_note(report: Row) -> str:
    metric = ", ".join(report["metric"])
    return f"{metric} on test rows, mean over seeds ± half the interval."


def _means(report: Row) -> str:
    return _matrix(report["means"], ["recipe", "optimizer"], _mean, report)


def _mean(row: Row) -> str:
    spread = "" if row["high"] is None else f" ± {row['high'] - row['value']:.4f}"
    return f"{row['value']:.4f}{spread}"


def _paired_note(report: Row) -> str:
    paper = report["paper"]
    return (
        "Against the baseline with the same optimizer and seeds; minus is better. The paper's relevance model, for "
        f"comparison: {percent(paper['student'])} of AUC loss for the student, {percent(paper['ta'])} for the TA "
        f"(arXiv 2505.23337)."
    )


def _changes(rows: Sequence[Row], report: Row) -> str:
    """Relative change of loss, a line per recipe, optimizer and baseline, a column per width."""

    def show(row: Row) -> str:
        return _interval(row, "relative_loss_change", "low", "high", percent)

    return _matrix(rows, ["recipe", "optimizer", *_baseline_keys(rows)], show, report)


def _differences(rows: Sequence[Row], report: Row) -> str:
    def show(row: Row) -> str:
        return _interval(row, "difference", "difference_low", "difference_high", points)

    return _matrix(rows, ["recipe", "optimizer", *_baseline_keys(rows)], show, report)


def _baseline_keys(rows: Sequence[Row]) -> list[str]:
    return (
        ["baseline", "baseline_optimizer"]
        if any("baseline_optimizer" in row for row in rows)
        else ["baseline"]
    )


def _matrix(rows: Sequence[Row], keys: Sequence[str], show: Callable[[Row], str], report: Row) -> str:
    """A table with a line for each value of `keys` and a column for each width, the ends named."""
    cells = {(*(row[key] for key in keys), row["width"]): show(row) for row in rows}
    widths = sorted({row["width"] for row in rows}, key=lambda width: (isinstance(width, str), width))
    roles = {report["student"]: " (student)", report["ta"]: " (TA)"}
    return table(
        [*(key.replace("_", " ") for key in keys), *(f"{width}{roles.get(width, '')}" for width in widths)],
        (
            [*line, *(cells.get((*line, width), "") for width in widths)]
            for line in dict.fromkeys(cell[:-1] for cell in cells)
        ),
    )


def points(value: float) -> str:
    """A difference of a metric with sign."""
    return f"{value:+.4f}".replace("-", "−")


def _interval(row: Row, name: str, low: str, high: str, show: Any) -> str:
    ends = "" if row[low] is None else f" [{show(row[low])}, {show(row[high])}]"
    return f"{show(row[name])}{ends}"


def _ladders(report: Row) -> str:
    def show(row: Row) -> str:
        return _interval(row, "difference", "low", "high", points)

    return _matrix(report["ladders"], ["recipe", "optimizer"], show, report)


def _super_additivity(report: Row) -> str:
    def show(row: Row) -> str:
        return f"{_interval(row, 'beyond_the_sum', 'low', 'high', points)} {_verdict(row)}"

    return _matrix(report["super_additivity"], ["recipe", "optimizer", "baseline", "reference"], show, report)


def _mixes(report: Row) -> str:
    def show(found: Row) -> str:
        return _interval(found, "mean", "low", "high", points)

    return table(
        ["recipe", "optimizer", "cost", "evaluations", "front − ladder", "a doubling", "tiers − ladder"],
        (
            [
                row["recipe"],
                row["optimizer"],
                row["cost"],
                " ".join(map(str, dict.fromkeys(row["evaluations"]))),
                *(show(row[key]) for key in ("front", "front_gain", "tiers")),
            ]
            for row in report["mixes"]
        ),
    )


def _verdict(row: Row) -> str:
    if row["low"] is None:
        return "one seed says nothing"
    if row["low"] > 0:
        return "confirmed"
    return "refuted" if row["high"] < 0 else "open"


def _cost_note(report: Row) -> str:
    study = report["study"]
    return (
        "Seconds in the training loop for all widths of a recipe and one seed, a TA that it trains included, tuning "
        f"not; {study['threads']} thread(s) a run, {report['workers']} run(s) at a time."
    )


def _cost(report: Row) -> str:
    return table(
        ["recipe", "optimizer", "widths", "seconds"],
        (
            [
                row["recipe"],
                row["optimizer"],
                str(row["widths"]),
                f"{row['train_seconds']:.1f}"
                + (f" ± {row['high'] - row['train_seconds']:.1f}" if row["high"] else ""),
            ]
            for row in report["cost"]
        ),
    )


def _tuned(report: Row) -> str:
    return table(
        ["recipe", "optimizer", "width", "chosen", "tried (validation)"],
        (
            [
                row["recipe"],
                row["optimizer"],
                "all" if row["width"] is None else str(row["width"]),
                _settings(row["settings"]),
                f"as {row['tuned_by']}" if row["tuned_by"] else "; ".join(map(_trial, row["trials"])),
            ]
            for row in report["tuned"]
            if row["settings"]
        ),
    )


def _trial(trial: Row) -> str:
    score = "failed" if trial["validation"] is None else f"{trial['validation']:.4f}"
    return f"{_settings(trial['settings'])}: {score}"


def _settings(settings: Row) -> str:
    return ", ".join(
        f"{key.removeprefix('optimizer.')} {yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}"
        for key, value in settings.items()
    )


def _batches(report: Row) -> str:
    batches = report["batches"]
    same = (
        f"Every recipe saw the same rows in the same order: digests of the row ids of all batches of {batches['runs']} "
        "runs agree, seed by seed, labelled rows and rows without labels each for themselves."
    )
    versions = "; ".join(
        ", ".join(f"{name} {found}" for name, found in row.items()) for row in report["versions"]
    )
    return "\n\n".join(([same] if batches["same"] else []) + [f"Versions: {versions}."])
