"""The process of one job: reads what to do from the job's folder, and leaves the result there.

Started by `elastier_trainer.study.process`, which holds the other end of this process's standard input.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from elastier_contract.errors import ElastierError
from elastier_trainer.config_file import parse_config, resolve_paths
from elastier_trainer.errors import CheckpointError
from elastier_trainer.study.job import JobOrder, JobStoppedError, Stop, TrainJob
from elastier_trainer.study.process import JOB_JSON, STOPPED
from elastier_trainer.study.results import write_result
from elastier_trainer.study.train import train_job


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


def _pipe_closed() -> Callable[[], bool]:
    closed = threading.Event()

    def wait() -> None:
        # Not through sys.stdin: a thread inside its buffer aborts the interpreter at its end.
        while os.read(sys.stdin.fileno(), 1):
            pass
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    return closed.is_set


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), _pipe_closed(), train_job))
