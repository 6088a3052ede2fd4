"""The seam between a study and its training: what a job is told, and how it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elastier_trainer.config import TrainConfig
from elastier_trainer.study.results import JobResult, JudgedOn

RUN_FOLDER = "run"
"""Of the training run, in a job's folder."""

Stop = Callable[[], bool]


class JobStoppedError(Exception):
    """The job was asked to stop; what it has done is saved."""


@dataclass(frozen=True, kw_only=True)
class JobOrder:
    """What a worker needs to know."""

    name: str
    config: TrainConfig
    folder: Path
    """The job's own; made if need be."""
    split: JudgedOn


TrainJob = Callable[[JobOrder, Stop], JobResult]
"""Trains and judges; raises `JobStoppedError` once `stop()` is true, any other error if it fails."""
