"""A job in a process of its own: its threads are counted, and what happens to it happens to no other job.

The worker holds the reading end of a pipe. The pipe closes when the study wants to stop, and just so when the
study is killed: then the worker saves its checkpoint and ends.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from elastier_contract import atomic
from elastier_trainer.config_file import dump_config
from elastier_trainer.errors import TrainerError
from elastier_trainer.study.job import JobOrder, JobStoppedError, Stop, TrainJob
from elastier_trainer.study.results import JobResult, read_result

JOB_JSON = "job.json"
LOG_TXT = "log.txt"
STOPPED = 130
POLL_S = 0.2


def in_own_process(keep_open: int | None = None) -> TrainJob:
    """A `TrainJob` that starts a worker for each job and waits for it.

    Args:
        keep_open: A file descriptor that workers hold too, such as that of a lock.
    """

    def run(order: JobOrder, stop: Stop) -> JobResult:
        order.folder.mkdir(parents=True, exist_ok=True)
        written = {
            "name": order.name,
            "split": order.split,
            "config": dump_config(order.config, relative_to=order.folder),
        }
        atomic.write_file(order.folder / JOB_JSON, json.dumps(written, indent=1).encode())
        code = _run_worker(order, stop, () if keep_open is None else (keep_open,))
        if code == STOPPED:
            raise JobStoppedError
        result = read_result(order.folder)
        if result is None:
            raise TrainerError(_last_words(order.folder, code))
        return result

    return run


def _run_worker(order: JobOrder, stop: Stop, keep_open: tuple[int, ...]) -> int:
    threads = str(order.config.threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads take the cores from the jobs beside them
    }
    with (
        (order.folder / LOG_TXT).open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "elastier_trainer.study.worker", str(order.folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            pass_fds=keep_open,
            start_new_session=True,  # Ctrl-C reaches the study, which then closes the pipe
        ) as process,
    ):
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(POLL_S)
            if stop() and process.stdin is not None:
                process.stdin.close()


def _last_words(folder: Path, code: int) -> str:
    lines = (folder / LOG_TXT).read_text(errors="replace").strip().splitlines()
    ended = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return f"{lines[-1] if lines else 'no output'} ({ended})"
