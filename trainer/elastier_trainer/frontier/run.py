"""`elastier frontier`: from a run's folder to a front, a tier file and a plot in another folder.

evaluations.jsonl   every evaluation, so that a stopped search goes on
frontier.json       what was found and how it compares, in figures
tiers.yaml          the chosen tiers, for `elastier export --tiers`
frontier.png        the same as a picture
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elastier_contract import atomic
from elastier_contract.bundle import open_bundle
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import DataError
from elastier_trainer.frontier.cost import FlopsCost, SubmodelCost, fit_latency
from elastier_trainer.frontier.evaluations import EVALUATIONS_JSONL, keep_evaluations
from elastier_trainer.frontier.find import Plan, find_front
from elastier_trainer.frontier.halves import Half, split_halves
from elastier_trainer.frontier.plot import plot_front
from elastier_trainer.frontier.report import FrontierReport, Mixes, make_report
from elastier_trainer.frontier.space import space_of
from elastier_trainer.frontier.tiers_file import write_tiers
from elastier_trainer.trained import TrainedModel, load_trained

FRONTIER_JSON = "frontier.json"
FRONTIER_PNG = "frontier.png"
TIERS_YAML = "tiers.yaml"


@dataclass(frozen=True, kw_only=True)
class FrontierOptions:
    """How to search."""

    bundle: Path | None = None
    """Whose measured latencies are the cost; None counts floating-point operations."""
    rows: int = 200
    """Rows of a request, for latencies."""
    evaluations: int = 200
    tiers: int | None = None
    """Tiers to choose; None takes as many as the ladder has."""
    seed: int = 0
    resamples: int = 1000
    """Of the bootstrap."""
    untrained: bool = False
    """Search mixes even of a run that never trained one."""
    command: str = ""


def run_frontier(
    run: Path,
    out: Path,
    *,
    options: FrontierOptions,
    progress: Progress = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> FrontierReport | None:
    """Search the mixes of a finished run, and write what was found into a folder.

    Args:
        run: The folder of a finished training run.
        out: Where to write; evaluations of an earlier search of the same run there are not repeated.
        options: How to search.
        progress: Told how far it is.
        stop: Whether to stop: then the evaluations are kept, and nothing else is written.

    Returns:
        The report, or None if it was stopped.

    Raises:
        CheckpointError: No finished run there.
        ConfigError: A budget, number of tiers, bundle or folder that does not fit.
        DataError: The data are not those of the run.
    """
    trained = load_trained(run)
    dataset = _same_data(trained)
    plan, cost = _plan(trained, options)
    choosing, judging = (
        Half(trained.model, dataset, trained.task, positions)
        for positions in split_halves(dataset, options.seed)
    )
    evaluate = keep_evaluations(out / EVALUATIONS_JSONL, _subject(trained, options.seed), choosing.evaluate)
    findings = find_front(plan, evaluate, judging, progress=progress, stop=stop)
    if findings is None:
        return None
    report = make_report(
        plan,
        findings,
        cost=cost,
        metric=trained.task.metric,
        choosing_rows=choosing.rows,
        judging_rows=judging.rows,
        mixes=_mixes(trained, options),
        command=options.command,
    )
    write_tiers(out / TIERS_YAML, findings.tiers)
    plot_front(out / FRONTIER_PNG, report)
    atomic.write_file(out / FRONTIER_JSON, report.model_dump_json(indent=1).encode())
    return report


def _plan(trained: TrainedModel, options: FrontierOptions) -> tuple[Plan, SubmodelCost]:
    space, students = space_of(trained.ladder), len(trained.ladder.names)
    cost: SubmodelCost = FlopsCost(model=trained.model)
    if options.bundle is not None:
        cost = fit_latency(open_bundle(options.bundle), space, rows=options.rows)
    only_ladder = _mixes(trained, options) == "not searched"
    plan = Plan(
        space=space,
        ladder=trained.ladder,
        cost=cost.of,
        chance=trained.task.chance,
        evaluations=min(options.evaluations, students) if only_ladder else options.evaluations,
        tiers=students if options.tiers is None else options.tiers,
        seed=options.seed,
        resamples=options.resamples,
    )
    return plan, cost


def _mixes(trained: TrainedModel, options: FrontierOptions) -> Mixes:
    if trained.config.middle == "per_block":
        return "trained"
    return "searched though untrained" if options.untrained else "not searched"


def _same_data(trained: TrainedModel) -> Dataset:
    dataset = load_dataset(trained.data, trained.schema)
    if dataset.sha256 != trained.data_sha256:
        raise DataError(
            f"{trained.data}: expected the data of the run, with digest {trained.data_sha256[:12]}, "
            f"got {dataset.sha256[:12]}"
        )
    return dataset


def _subject(trained: TrainedModel, seed: int) -> dict[str, str | int]:
    """What an evaluation depends on."""
    weights = hashlib.sha256()
    for name, tensor in sorted(trained.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return {
        "weights_sha256": weights.hexdigest(),
        "data_sha256": trained.data_sha256,
        "metric": trained.task.metric,
        "seed": seed,
    }
