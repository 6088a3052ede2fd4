"""The process of one job: reads what to do from the job's folder, and leaves the result there.

Started by `elastier_trainer.study.process`, which holds the other end of its pipe.
"""

import json
import os
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from elastier_contract.errors import ElastierError
from elastier_trainer.config_file import parse_config, resolve_paths
from elastier_trainer.errors import CheckpointError
from elastier_trainer.study.job import JobOrder, JobStoppedError, Stop, TrainJob
from elastier_trainer.study.results import write_result
from elastier_trainer.study.train import train_job

JOB_JSON = "job.json"
LOG_TXT = "log.txt"
STOPPED = 130


def run_worker(folder: Path, pipe: Connection, kept: Connection | None) -> None:
    """Do the job that a folder describes, in this process, and end the process.

    Args:
        folder: The job's folder; what the job prints goes to its `log.txt`.
        pipe: Closed at its other end when the job is to stop.
        kept: Held until the process ends.
    """
    os.setsid()  # Ctrl-C reaches the study, which then closes the pipe
    log = os.open(folder / LOG_TXT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    status = work(folder, _when_closed(pipe), train_job)
    if kept is not None:
        kept.close()
    sys.exit(status)


def work(folder: Path, stop: Stop, job: TrainJob) -> int:
    """Do the job that a folder describes; returns the exit status."""
    try:
        order = _read_order(folder)
        write_result(folder, job(order, stop))
    except JobStoppedError:
        return STOPPED
    except ElastierError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _read_order(folder: Path) -> JobOrder:
    path = folder / JOB_JSON
    try:
        written = json.loads(path.read_bytes())
        config = parse_config(resolve_paths(written["config"], folder), source=str(path))
        return JobOrder(name=written["name"], config=config, folder=folder, split=written["split"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: expected a job's description: {error!r}") from error


def _when_closed(pipe: Connection) -> Stop:
    closed = threading.Event()

    def wait() -> None:
        while os.read(pipe.fileno(), 1):
            pass
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    return closed.is_set
