"""Mix'n'Match over the seeds of a study: a front for every run of a nested recipe, against its uniform ladder.

A front lies in `frontier/` of the job's folder, as `elastier frontier` writes it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from elastier_contract.progress import Progress, no_progress
from elastier_trainer.errors import CheckpointError, ConfigError
from elastier_trainer.frontier.report import FrontierReport
from elastier_trainer.frontier.run import FRONTIER_JSON, FrontierOptions, run_frontier
from elastier_trainer.study.comparisons import Row
from elastier_trainer.study.job import RUN_FOLDER, Stop
from elastier_trainer.study.plan import Plan
from elastier_trainer.study.report import reported_runs
from elastier_trainer.study.results import Outcome
from elastier_trainer.study.runner import job_folder
from elastier_trainer.study.statistics import estimate

FRONTIER_FOLDER = "frontier"


def search_mixes(
    plan: Plan,
    outcomes: Mapping[str, Outcome],
    out: Path,
    *,
    recipe: str,
    options: FrontierOptions,
    progress: Progress = no_progress,
    stop: Stop = lambda: False,
) -> bool:
    """Search the mixes of a recipe's finished runs; what was found before is not searched again.

    Args:
        plan: The study's plan.
        outcomes: What became of its jobs.
        out: The study's folder, locked by `locked_study`.
        recipe: A nested recipe of the study.
        options: How to search each run.
        progress: Told how far it is.
        stop: Whether to stop; evaluations are kept.

    Returns:
        False if it was stopped.

    Raises:
        ConfigError: No nested recipe of that name, or none of its runs is done.
        CheckpointError: A run's network is no longer there.
    """
    nested = sorted({unit.recipe for unit in plan.units.values() if unit.width is None})
    runs = [run for run in reported_runs(plan, outcomes) if run.unit.recipe == recipe]
    if recipe not in nested:
        raise ConfigError(f"expected a nested recipe of the study, one of {nested}, got {recipe!r}")
    if not runs:
        raise ConfigError(f"expected finished runs of {recipe}, found none: run the study first")
    for done, run in enumerate(runs):
        progress("runs", done, len(runs), f"{run.unit.optimizer} seed {run.seed}")
        folder = job_folder(out, run.digest)
        if not (folder / RUN_FOLDER).is_dir():
            raise CheckpointError(f"{folder}: expected the network of this job, found its figures only")
        seeded = replace(options, seed=run.seed)
        if not _kept(folder, seeded) and (
            run_frontier(
                folder / RUN_FOLDER, folder / FRONTIER_FOLDER, options=seeded, progress=progress, stop=stop
            )
            is None
        ):
            return False
    progress("runs", len(runs), len(runs), "")
    return True


def mix_rows(plan: Plan, outcomes: Mapping[str, Outcome], out: Path) -> Iterator[Row]:
    """What the searched fronts have above their ladders, over seeds, for each recipe and optimizer."""
    found: dict[tuple[str, str], list[FrontierReport]] = defaultdict(list)
    for run in reported_runs(plan, outcomes):
        report = _read(job_folder(out, run.digest))
        if report is not None:
            found[run.unit.recipe, run.unit.optimizer].append(report)
    for (recipe, optimizer), reports in found.items():
        yield {
            "recipe": recipe,
            "optimizer": optimizer,
            "cost": reports[0].cost.unit,
            "evaluations": [report.evaluations for report in reports],
            "front": asdict(estimate([report.front_against_ladder.difference for report in reports])),
            "front_gain": asdict(estimate([report.front_against_ladder.mean_gain for report in reports])),
            "tiers": asdict(estimate([report.tiers_against_ladder.difference for report in reports])),
        }


def _kept(folder: Path, options: FrontierOptions) -> bool:
    """Whether a search of as many sub-models, or of all that there are, is there."""
    report = _read(folder)
    return (
        report is not None
        and report.seed == options.seed
        and report.evaluations == min(options.evaluations, report.space)
    )


def _read(folder: Path) -> FrontierReport | None:
    path = folder / FRONTIER_FOLDER / FRONTIER_JSON
    if not path.is_file():
        return None
    try:
        return FrontierReport.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: expected what a search found: {error}") from error
