"""A study from its plan to its results: every job once, several at a time, stopped and resumed at will.

What is done is what lies in `jobs/` of the study's folder, so a study that was killed goes on where it was.
"""

import fcntl
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elastier_contract import atomic
from elastier_contract.errors import ElastierError
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.config_file import parse_config, resolve_paths
from elastier_trainer.errors import TrainerError
from elastier_trainer.study.job import RUN_FOLDER, JobOrder, JobStoppedError, Stop, TrainJob
from elastier_trainer.study.plan import Blocked, Job, Plan, Slot
from elastier_trainer.study.recipes import Document
from elastier_trainer.study.results import (
    Failure,
    Outcome,
    read_failure,
    read_result,
    write_failure,
    write_result,
)

JOBS_FOLDER = "jobs"
MARKER = ".elastier-study"
POLL_S = 0.2
WAIT_FOR_LOCK_S = 30.0
"""Workers of a study that was killed save their checkpoints and go; a new one waits for them that long."""


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """How running a study ended."""

    outcomes: dict[str, Outcome]
    """Job digest → what became of it."""
    interrupted: bool


@contextmanager
def locked_study(out: Path) -> Iterator[int]:
    """Make the study's folder if need be and keep every other study out; yields the lock's file descriptor.

    Raises:
        TrainerError: The folder holds something else, or another study works in it.
    """
    if out.exists() and not (out.is_dir() and ((out / MARKER).exists() or not any(out.iterdir()))):
        raise TrainerError(f"{out}: expected a new or empty folder, or that of an earlier study")
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / MARKER, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(out, descriptor)
        (out / JOBS_FOLDER).mkdir(exist_ok=True)
        # Figures belong into version control, hundreds of networks do not.
        atomic.write_file(out / JOBS_FOLDER / ".gitignore", b"*\n")
        yield descriptor
    finally:
        os.close(descriptor)


def run_study(
    plan: Plan,
    out: Path,
    train_job: TrainJob,
    *,
    base_folder: Path,
    workers: int,
    only: frozenset[str] = frozenset(),
    progress: Progress = no_progress,
    stop: Stop = lambda: False,
) -> StudyRun:
    """Run what of a study is not done yet; jobs that failed before are tried again.

    Args:
        plan: The study's plan.
        out: The study's folder, locked by `locked_study`.
        train_job: Does one job; called from several threads at a time.
        base_folder: What paths of the study's base configuration are relative to.
        workers: Jobs at a time.
        only: Recipes to run, with all that they need; empty runs all.
        progress: Told when a job begins and ends.
        stop: Asked all the time; True lets running jobs save themselves and ends the study.
    """
    slots = plan.slots(only)
    outcomes: dict[str, Outcome] = {}
    running: dict[Future[Outcome | None], Job] = {}
    with ThreadPoolExecutor(workers) as pool:
        while True:
            for job in () if stop() else _startable(plan, slots, outcomes, running.values()):
                running[pool.submit(_perform, job, out, base_folder, train_job, stop)] = job
            settled = sum(_is_settled(plan, slot, outcomes) for slot in slots)
            progress("jobs", settled, len(slots), _names(running, workers))
            if not running:
                return StudyRun(outcomes=outcomes, interrupted=settled < len(slots))
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, outcome = running.pop(future), future.result()
                if outcome is not None:
                    outcomes[job.digest] = outcome


def _names(running: Mapping[Future[Outcome | None], Job], workers: int) -> str:
    return ", ".join(job.name for job in itertools.islice(running.values(), workers))


def read_outcomes(plan: Plan, out: Path) -> dict[str, Outcome]:
    """What of a study is done, failures too, as it lies in its folder."""
    outcomes: dict[str, Outcome] = {}
    slots = plan.slots()
    known = -1
    while len(outcomes) > known:  # what is done decides what comes next
        known = len(outcomes)
        for slot in slots:
            job = plan.job(slot, outcomes)
            if isinstance(job, Job) and job.digest not in outcomes:
                folder = job_folder(out, job.digest)
                outcome = read_result(folder) or read_failure(folder)
                if outcome is not None:
                    outcomes[job.digest] = outcome
    return outcomes


def job_folder(out: Path, digest: str) -> Path:
    """Where a job leaves its traces."""
    return out / JOBS_FOLDER / digest


def make_order(job: Job, out: Path, base_folder: Path) -> JobOrder:
    """A job with its folder and its teacher's."""
    document: Document = resolve_paths(job.document, base_folder)
    if job.teacher is not None:
        document["teacher"] = {"checkpoint": str(job_folder(out, job.teacher) / RUN_FOLDER)}
    config = parse_config(document, source=job.name)
    return JobOrder(name=job.name, config=config, folder=job_folder(out, job.digest), split=job.split)


def _startable(
    plan: Plan, slots: Sequence[Slot], outcomes: Mapping[str, Outcome], running: Iterable[Job]
) -> list[Job]:
    """Jobs that nothing keeps from starting, each once."""
    known = {*outcomes, *(job.digest for job in running)}
    startable: dict[str, Job] = {}
    for slot in slots:
        job = plan.job(slot, outcomes)
        if isinstance(job, Job) and job.digest not in known:
            startable.setdefault(job.digest, job)
    return list(startable.values())


def _perform(job: Job, out: Path, base_folder: Path, train_job: TrainJob, stop: Stop) -> Outcome | None:
    """Do a job unless it is done; None if the study stops."""
    folder = job_folder(out, job.digest)
    try:
        done = read_result(folder)
        if done is not None:
            return done
        if stop():
            return None
        result = train_job(make_order(job, out, base_folder), stop)
        write_result(folder, result)
    except JobStoppedError:
        return None
    except (ElastierError, OSError) as error:
        failure = Failure(job=job.name, error=str(error))
        write_failure(folder, failure)
        return failure
    return result


def _is_settled(plan: Plan, slot: Slot, outcomes: Mapping[str, Outcome]) -> bool:
    job = plan.job(slot, outcomes)
    return isinstance(job, Blocked) or (job is not None and job.digest in outcomes)


def _lock(out: Path, descriptor: int) -> None:
    deadline = time.monotonic() + WAIT_FOR_LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TrainerError(f"{out}: another study works in this folder") from error
            time.sleep(POLL_S)
        else:
            return
