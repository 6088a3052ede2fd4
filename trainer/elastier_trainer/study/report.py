"""What a study found, as one JSON document: runs, paired differences, ladders, costs, and what went wrong.

A pure function of the plan and of what became of its jobs.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from elastier_trainer.study.comparisons import (
    Cell,
    Row,
    across_rows,
    cell_row,
    ladder_rows,
    paired_rows,
    super_additivity_rows,
)
from elastier_trainer.study.config import Settings, dump_study
from elastier_trainer.study.plan import Blocked, Job, Plan, Slot
from elastier_trainer.study.recipes import Unit, ladder_of
from elastier_trainer.study.results import BatchDigests, Failure, JobResult, Outcome, differing_batches
from elastier_trainer.study.statistics import estimate

PAPER = {"student": -0.0805, "ta": -0.0947}
"""Relative change of AUC loss that MatTA reports for its relevance model (arXiv 2505.23337)."""


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A run on a reported seed."""

    unit: Unit
    seed: int
    digest: str
    result: JobResult
    teacher_seconds: float
    """Of training the teacher, where the recipe trains one."""


def build_report(
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    *,
    command: str,
    workers: int,
    mixes: Sequence[Row] = (),
) -> Row:
    """The whole of `study.json`.

    Args:
        plan: The study's plan.
        outcomes: What became of its jobs.
        command: What the user typed.
        workers: Jobs at a time, which seconds depend on.
        mixes: What a search of mixes found, if there was one.
    """
    reported = list(reported_runs(plan, outcomes))
    cells = _cells(reported)
    findings = _batches(reported)
    ladder, baselines = ladder_of(plan.study), plan.study.baselines
    reference = next(iter(plan.study.optimizers))
    nested = {unit.recipe for unit in plan.units.values() if unit.width is None}
    return {
        "name": plan.study.name,
        "command": command,
        "workers": workers,
        "metric": sorted({run.result.metric for run in reported}),
        "student": ladder[0],
        "ta": ladder[-1],
        "runs": [row for run in reported for row in _run_rows(run)],
        "means": [cell_row(cell, value=estimate(list(by_seed.values()))) for cell, by_seed in cells.items()],
        "paired": list(paired_rows(cells, baselines)),
        "across_optimizers": list(across_rows(cells, baselines, reference=reference)),
        "ladders": list(ladder_rows(cells)),
        "super_additivity": list(super_additivity_rows(cells, baselines, nested=nested, reference=reference)),
        "mixes": list(mixes),
        "cost": list(_costs(reported)),
        "tuned": [_tuned(plan, unit, outcomes) for unit in plan.units.values()],
        "batches": {"same": not findings, "differences": findings, "runs": len(reported)},
        **_unfinished(plan, outcomes),
        "paper": {**PAPER, "source": "arXiv 2505.23337, relevance model, AUC loss"},
        "versions": _versions(outcomes),
        "data_sha256": sorted({run.result.data_sha256 for run in reported}),
        "study": dump_study(plan.study),
    }


def width_of(name: str) -> int | str:
    """The width of a student's name, such as 8 for `w8`; the name itself where it says more."""
    match = re.fullmatch(r"w(\d+)", name)
    return int(match[1]) if match else name


def errors_of(report: Row) -> list[str]:
    """What makes a report's figures doubtful, in words; empty for a study without faults."""
    errors = list(report["batches"]["differences"])
    errors += [f"{failure['job']} failed: {failure['error']}" for failure in report["failures"]]
    for key, what in (("data_sha256", "data"), ("metric", "metric"), ("versions", "versions")):
        if len(report[key]) > 1:
            errors.append(f"runs of different {what}: {report[key]}")
    return errors


def reported_runs(plan: Plan, outcomes: Mapping[str, Outcome]) -> Iterator[Reported]:
    """The finished runs on reported seeds."""
    for slot in plan.slots():
        job = plan.job(slot, outcomes)
        if slot.trial is not None or not isinstance(job, Job):
            continue
        result = outcomes.get(job.digest)
        if isinstance(result, JobResult):
            teacher = outcomes.get(job.teacher) if job.teacher is not None else None
            yield Reported(
                unit=slot.unit,
                seed=slot.seed,
                digest=job.digest,
                result=result,
                teacher_seconds=teacher.train_seconds if isinstance(teacher, JobResult) else 0.0,
            )


def _cells(reported: list[Reported]) -> dict[Cell, dict[int, float]]:
    """Metric by seed, of every recipe, optimizer and width."""
    cells: dict[Cell, dict[int, float]] = defaultdict(dict)
    for run in reported:
        for name, value in run.result.values.items():
            cells[run.unit.recipe, run.unit.optimizer, width_of(name)][run.seed] = value
    return dict(cells)


def _run_rows(run: Reported) -> Iterator[Row]:
    for name, value in run.result.values.items():
        yield {
            "recipe": run.unit.recipe,
            "optimizer": run.unit.optimizer,
            "seed": run.seed,
            "width": width_of(name),
            "metric": run.result.metric,
            "value": value,
            "train_seconds": run.result.train_seconds,
            "teacher_seconds": run.teacher_seconds,
            "steps": run.result.steps,
            "job": run.digest,
        }


def _costs(reported: list[Reported]) -> Iterator[Row]:
    """Seconds of training all widths of a recipe, teachers that it trains included."""
    seconds: dict[tuple[str, str], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    widths: dict[tuple[str, str], set[int | str]] = defaultdict(set)
    for run in reported:
        key = run.unit.recipe, run.unit.optimizer
        seconds[key][run.seed] += run.result.train_seconds
        widths[key] |= {width_of(name) for name in run.result.values}
    for (recipe, optimizer), by_seed in seconds.items():
        found = estimate(list(by_seed.values()))
        yield {
            "recipe": recipe,
            "optimizer": optimizer,
            "widths": len(widths[recipe, optimizer]),
            "train_seconds": found.mean,
            "low": found.low,
            "high": found.high,
            "seeds": found.seeds,
        }


def _batches(reported: list[Reported]) -> list[str]:
    by_seed: dict[int, list[tuple[str, BatchDigests]]] = defaultdict(list)
    for run in reported:
        name = Slot(unit=run.unit, seed=run.seed, trial=None).name
        by_seed[run.seed].append((name, run.result.batches))
    return [finding for runs in by_seed.values() for finding in differing_batches(runs)]


def _tuned(plan: Plan, unit: Unit, outcomes: Mapping[str, Outcome]) -> Row:
    settings: Settings | None = plan.chosen_settings(unit, outcomes)
    scores: list[float | None] | Blocked | None = None
    if unit.tuned_by is None and len(unit.trials) > 1:
        scores = plan.trial_scores(unit, outcomes)
    trials = []
    if isinstance(scores, list):
        trials = [
            {"settings": trial, "validation": score} for trial, score in zip(unit.trials, scores, strict=True)
        ]
    return {
        "recipe": unit.recipe,
        "optimizer": unit.optimizer,
        "width": unit.width,
        "settings": settings,
        "tuned_by": unit.tuned_by,
        "trials": trials,
    }


def _unfinished(plan: Plan, outcomes: Mapping[str, Outcome]) -> Row:
    """Slots without a result: a trial that failed lost its place, a reported run that failed is a fault."""
    found: dict[str, dict[str, Row]] = {"failures": {}, "failed_trials": {}}
    missing = []
    for slot in plan.slots():
        kind = found["failures" if slot.trial is None else "failed_trials"]
        job = plan.job(slot, outcomes)
        outcome = outcomes.get(job.digest) if isinstance(job, Job) else None
        if isinstance(job, Blocked):
            kind[slot.name] = {"job": slot.name, "error": job.reason}
        elif isinstance(outcome, Failure):
            kind[slot.name] = {"job": slot.name, "error": outcome.error}
        elif outcome is None:
            missing.append(slot.name)
    return {kind: list(rows.values()) for kind, rows in found.items()} | {"missing": missing}


def _versions(outcomes: Mapping[str, Outcome]) -> list[dict[str, str]]:
    versions = [outcome.versions for outcome in outcomes.values() if isinstance(outcome, JobResult)]
    return [dict(pairs) for pairs in sorted({tuple(sorted(found.items())) for found in versions})]
