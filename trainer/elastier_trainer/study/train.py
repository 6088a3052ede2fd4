"""One job of a study: train, then judge every width on the split that the job is for.

Shapes: R rows of a batch, the first L labelled.
"""

import hashlib
import shutil

from elastier_contract.progress import no_progress
from elastier_trainer.checkpoint import CHECKPOINT_FOLDER
from elastier_trainer.config import TrainConfig
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.evaluate import evaluate_ladder
from elastier_trainer.run import library_versions, run_training
from elastier_trainer.sampling import make_batches
from elastier_trainer.study.job import RUN_FOLDER, JobOrder, JobStoppedError, Stop
from elastier_trainer.study.results import CHUNK_STEPS, BatchDigests, JobResult
from elastier_trainer.trained import load_trained


def train_job(order: JobOrder, stop: Stop) -> JobResult:
    """Train, or go on where an earlier attempt was stopped, and judge the result.

    Raises:
        JobStoppedError: `stop` said so; a checkpoint is saved.
        TrainerError: As `run_training`.
    """
    run = order.folder / RUN_FOLDER
    report = run_training(
        order.config, run, resume=True, command=f"study job {order.name}", progress=no_progress, stop=stop
    )
    if report.ending == "interrupted":
        raise JobStoppedError
    trained = load_trained(run)
    dataset = load_dataset(order.config.data, order.config.schema)
    found = evaluate_ladder(trained.model, dataset, order.split, trained.ladder.submodels, dataset.task)
    result = JobResult(
        split=order.split,
        metric=dataset.task.metric,
        values={name: interval.value for name, interval in zip(trained.ladder.names, found, strict=True)},
        train_seconds=report.seconds,
        steps=report.steps_taken,
        batches=digest_batches(order.config, dataset, report.steps_taken),
        data_sha256=dataset.sha256,
        versions=library_versions(),
    )
    # A finished job is never resumed, and a study has hundreds of them.
    shutil.rmtree(run / CHECKPOINT_FOLDER, ignore_errors=True)
    return result


def digest_batches(config: TrainConfig, dataset: Dataset, steps: int) -> BatchDigests:
    """Which rows the batches of these steps held, in their order."""
    batches = make_batches(
        dataset,
        None,
        labelled_rows=config.labelled_rows,
        unlabelled_rows=config.unlabelled_rows,
        labelled_fraction=config.labelled_fraction,
        seed=config.seed,
    )
    labelled, unlabelled = [], []
    for first in range(0, steps, CHUNK_STEPS):
        digests = hashlib.sha256(), hashlib.sha256()
        for step in range(first, min(first + CHUNK_STEPS, steps)):
            ids_R = batches.at(step).row_ids_R.numpy()
            digests[0].update(ids_R[: config.labelled_rows].tobytes())
            digests[1].update(ids_R[config.labelled_rows :].tobytes())
        labelled.append(digests[0].hexdigest())
        unlabelled.append(digests[1].hexdigest())
    return BatchDigests(
        steps=steps,
        labelled_fraction=config.labelled_fraction,
        labelled_rows=config.labelled_rows,
        labelled=tuple(labelled if config.labelled_rows else ()),
        unlabelled_rows=config.unlabelled_rows,
        unlabelled=tuple(unlabelled if config.unlabelled_rows else ()),
    )
