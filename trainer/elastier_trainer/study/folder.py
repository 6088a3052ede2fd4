"""A study's folder: run it, read it, write its report.

study.yaml   the study's file as it was run, to report by
study.json   every figure, written anew at the end of every run
study.md     the same for people, with plots beside it
jobs/        one folder a job, kept out of version control
"""

import json
from dataclasses import dataclass
from pathlib import Path

from elastier_contract import atomic
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.errors import ConfigError, TrainerError
from elastier_trainer.frontier.run import FrontierOptions
from elastier_trainer.study.comparisons import Row
from elastier_trainer.study.config import StudyConfig, load_study
from elastier_trainer.study.job import Stop, TrainJob
from elastier_trainer.study.markdown import PLOTS, markdown
from elastier_trainer.study.mixes import mix_rows, search_mixes
from elastier_trainer.study.plan import Plan, make_plan
from elastier_trainer.study.plots import draw_plots
from elastier_trainer.study.process import in_own_process
from elastier_trainer.study.report import build_report
from elastier_trainer.study.runner import locked_study, read_outcomes, run_study

STUDY_YAML, STUDY_JSON, STUDY_MD = "study.yaml", "study.json", "study.md"


@dataclass(frozen=True, kw_only=True)
class StudyEnding:
    """What running a study came to."""

    report: Row
    """What `study.json` says."""
    interrupted: bool


def study(
    file: Path,
    out: Path,
    *,
    workers: int | None = None,
    only: frozenset[str] = frozenset(),
    command: str = "",
    train_job: TrainJob | None = None,
    progress: Progress = no_progress,
    stop: Stop = lambda: False,
) -> StudyEnding:
    """Run what of a study is not done yet, and write its report.

    Args:
        file: The study's YAML file.
        out: The study's folder; made if need be.
        workers: Jobs at a time; None takes the file's number.
        only: Recipes to run, with all that they need; empty runs all.
        command: What the user typed, kept with the report.
        train_job: Does one job; None trains in a process of its own.
        progress: Told when a job begins and ends.
        stop: Asked all the time; True lets running jobs save themselves and ends the study.

    Raises:
        ConfigError: The study's file is wrong, or the folder has another study.
        TrainerError: Another study works in the folder, or it holds something else.
    """
    config = load_study(file)
    plan = make_plan(config)
    if unknown := sorted(only - {spec.name for spec in config.recipes}):
        raise ConfigError(
            f"{file}: expected recipes of {[spec.name for spec in config.recipes]}, got {unknown}"
        )
    with locked_study(out) as lock:
        _keep_file(file, config, out)
        run = run_study(
            plan,
            out,
            train_job or in_own_process(lock),
            base_folder=file.parent,
            workers=workers or config.workers,
            only=only,
            progress=progress,
            stop=stop,
        )
        return StudyEnding(
            report=_write(plan, out, command, workers or config.workers), interrupted=run.interrupted
        )


def report_study(out: Path) -> Row:
    """Write a study's report again, from what lies in its folder.

    Raises:
        TrainerError: No study there, or one that works in the folder just now.
    """
    plan = _kept_plan(out)
    with locked_study(out):
        return _write(plan, out, *_earlier(plan, out))


def study_mixes(
    out: Path,
    recipe: str,
    options: FrontierOptions,
    *,
    progress: Progress = no_progress,
    stop: Stop = lambda: False,
) -> StudyEnding:
    """Search the mixes of a nested recipe's runs in a study's folder, and write its report again.

    Raises:
        TrainerError: No study there, one that works in the folder just now, or no such runs in it.
    """
    plan = _kept_plan(out)
    with locked_study(out):
        finished = search_mixes(
            plan,
            read_outcomes(plan, out),
            out,
            recipe=recipe,
            options=options,
            progress=progress,
            stop=stop,
        )
        return StudyEnding(report=_write(plan, out, *_earlier(plan, out)), interrupted=not finished)


def _kept_plan(out: Path) -> Plan:
    if not (out / STUDY_YAML).is_file():
        raise TrainerError(f"{out}: expected the folder of a study, found no {STUDY_YAML}")
    return make_plan(load_study(out / STUDY_YAML))


def _write(plan: Plan, out: Path, command: str, workers: int) -> Row:
    outcomes = read_outcomes(plan, out)
    mixes = list(mix_rows(plan, outcomes, out))
    report = build_report(plan, outcomes, command=command, workers=workers, mixes=mixes)
    plots = draw_plots(report)
    for name in PLOTS:
        if name in plots:
            atomic.write_file(out / name, plots[name])
        else:
            (out / name).unlink(missing_ok=True)
    atomic.write_file(out / STUDY_MD, markdown(report, list(plots)).encode())
    text = json.dumps(report, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    atomic.write_file(out / STUDY_JSON, text.encode())
    return report


def _keep_file(file: Path, config: StudyConfig, out: Path) -> None:
    kept = out / STUDY_YAML
    if kept.is_file() and (earlier := load_study(kept).name) != config.name:
        raise ConfigError(f"{out}: expected the folder of study {config.name}, it has study {earlier}")
    # Byte by byte: a job is known by its configuration, the paths in it too.
    atomic.write_file(kept, file.read_bytes())


def _earlier(plan: Plan, out: Path) -> tuple[str, int]:
    """Command and number of workers of the last run, as its report says."""
    path = out / STUDY_JSON
    if not path.is_file():
        return "", plan.study.workers
    try:
        report = json.loads(path.read_bytes())
        return str(report["command"]), int(report["workers"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"{path}: expected a study's report: {error!r}") from error
