"""A study's report as markdown: a pure function of `study.json`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from elastier_trainer.study.comparisons import Row
from elastier_trainer.study.report import errors_of

PLOTS = {
    "widths.png": "Metric by width, with 95 % intervals over seeds",
    "changes.png": "Relative change of loss against the baselines, same optimizer, with 95 % intervals",
    "cost.png": "Training time against the metric of the student and of the TA",
}


def markdown(report: Row, plots: Sequence[str] = ()) -> str:
    """The whole of `study.md`; `plots` are the files of `PLOTS` that exist beside it."""
    parts = [
        _head(report),
        _faults(report),
        *_section("Metric per width", _metric_note(report), _means(report)),
        *(f"![{PLOTS[name]}]({name})" for name in plots),
        *_section("Paired changes of loss", _paired_note(report), _paired(report["paired"], report)),
        *_section("Across optimizers", ACROSS_NOTE, _across(report)),
        *_section("Is the ladder even?", LADDER_NOTE, _ladders(report)),
        *_section("More than the sum of both?", SUPER_NOTE, _super_additivity(report)),
        *_section("Training cost", _cost_note(report), _cost(report)),
        *_section("Tuned settings", TUNED_NOTE, _tuned(report)),
        *_section("Batches and versions", _batches(report)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


ACROSS_NOTE = "The recipe with its optimizer, less the baseline with the first optimizer of the study."
LADDER_NOTE = "Each width less the next smaller one, paired by seed: even where every interval is above 0."
SUPER_NOTE = (
    "(recipe with optimizer − baseline with the reference optimizer) less the gains of recipe alone and of "
    "optimizer alone, in points of the metric, paired by seed. An interval above 0 confirms super-additivity, "
    "one below 0 refutes it, one around 0 leaves it open."
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
    widths = sorted(
        {row["width"] for row in report["means"]}, key=lambda width: (isinstance(width, str), width)
    )
    cells = {(row["recipe"], row["optimizer"], row["width"]): row for row in report["means"]}
    lines = dict.fromkeys((recipe, optimizer) for recipe, optimizer, _ in cells)
    return table(
        ["recipe", "optimizer", *map(str, widths)],
        ([*line, *(_mean(cells.get((*line, width))) for width in widths)] for line in lines),
    )


def _mean(row: Row | None) -> str:
    if row is None:
        return ""
    spread = "" if row["high"] is None else f" ± {row['high'] - row['value']:.4f}"
    return f"{row['value']:.4f}{spread}"


def _paired_note(report: Row) -> str:
    paper = report["paper"]
    return (
        "Against the baseline with the same optimizer and seeds; minus is better. The paper's relevance model, for "
        f"comparison: {percent(paper['student'])} of AUC loss for the student, {percent(paper['ta'])} for the TA "
        f"(arXiv 2505.23337). Here the student is width {report['student']} and the TA {report['ta']}."
    )


def _paired(rows: Sequence[Row], report: Row) -> str:
    metric = ", ".join(report["metric"])
    heads = [
        "recipe",
        "optimizer",
        "baseline",
        "width",
        "change of 1 − metric",
        f"{metric}, difference",
        "seeds",
    ]
    return table(heads, (_paired_line(row, report) for row in rows))


def _paired_line(row: Row, report: Row) -> list[str]:
    role = {report["student"]: " (student)", report["ta"]: " (TA)"}.get(row["width"], "")
    baseline = row["baseline"] + (f", {row['baseline_optimizer']}" if "baseline_optimizer" in row else "")
    return [
        row["recipe"],
        row["optimizer"],
        baseline,
        f"{row['width']}{role}",
        _interval(row, "relative_loss_change", "low", "high", percent),
        _interval(row, "difference", "difference_low", "difference_high", points),
        str(row["seeds"]),
    ]


def points(value: float) -> str:
    """A difference of a metric with sign."""
    return f"{value:+.4f}".replace("-", "−")


def _interval(row: Row, name: str, low: str, high: str, show: Any) -> str:
    ends = "" if row[low] is None else f" [{show(row[low])}, {show(row[high])}]"
    return f"{show(row[name])}{ends}"


def _across(report: Row) -> str:
    return _paired(report["across_optimizers"], report)


def _ladders(report: Row) -> str:
    return table(
        ["recipe", "optimizer", "width", "less width", "difference"],
        (
            [
                row["recipe"],
                row["optimizer"],
                str(row["width"]),
                str(row["next_smaller"]),
                _interval(row, "difference", "low", "high", points),
            ]
            for row in report["ladders"]
        ),
    )


def _super_additivity(report: Row) -> str:
    return table(
        ["recipe", "optimizer", "baseline", "width", "beyond the sum", "verdict"],
        (
            [
                row["recipe"],
                row["optimizer"],
                f"{row['baseline']}, {row['reference']}",
                str(row["width"]),
                _interval(row, "beyond_the_sum", "low", "high", points),
                _verdict(row),
            ]
            for row in report["super_additivity"]
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
