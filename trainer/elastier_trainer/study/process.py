"""A job in a process of its own: what happens to it happens to no other job.

Workers are forks of one process that has imported the libraries already, which takes as long as a short job.
A worker holds the reading end of a pipe. The pipe closes when the study wants to stop, and just so when the
study is killed: then the worker saves its checkpoint and ends.
"""

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection

from elastier_contract import atomic
from elastier_trainer.config_file import dump_config
from elastier_trainer.errors import TrainerError
from elastier_trainer.study.job import JobOrder, JobStoppedError, Stop, TrainJob
from elastier_trainer.study.results import JobResult, read_result
from elastier_trainer.study.worker import JOB_JSON, LOG_TXT, STOPPED, run_worker

POLL_S = 0.2
IMPORTED = ("elastier_trainer.study.worker", "pytorch_optimizer")
"""What every worker needs and is slow to import; starts no thread, which a fork would lose."""


def in_own_process(keep_open: int | None = None) -> TrainJob:
    """A `TrainJob` that starts a worker for each job and waits for it.

    Args:
        keep_open: A file descriptor that workers hold too, such as that of a lock.
    """
    multiprocessing.set_forkserver_preload(list(IMPORTED))
    # Spinning threads take the cores from the jobs beside them; read once, when a process loads the library.
    with _environment({"OMP_WAIT_POLICY": "PASSIVE"}):
        forkserver.ensure_running()

    def run(order: JobOrder, stop: Stop) -> JobResult:
        order.folder.mkdir(parents=True, exist_ok=True)
        written = {
            "name": order.name,
            "split": order.split,
            "config": dump_config(order.config, relative_to=order.folder),
        }
        atomic.write_file(order.folder / JOB_JSON, json.dumps(written, indent=1).encode())
        code = _run_worker(order, stop, keep_open)
        if code == STOPPED:
            raise JobStoppedError
        result = read_result(order.folder)
        if result is None:
            raise TrainerError(_last_words(order, code))
        return result

    return run


def _run_worker(order: JobOrder, stop: Stop, keep_open: int | None) -> int:
    pipe, going_on = multiprocessing.Pipe(duplex=False)
    with going_on, pipe:
        # A descriptor travels to a process that is no child of this one inside a connection only.
        kept = None if keep_open is None else Connection(os.dup(keep_open), writable=False)
        worker = multiprocessing.get_context("forkserver").Process(
            target=run_worker, args=(order.folder, pipe, kept), name=order.name
        )
        worker.start()
        pipe.close()
        if kept is not None:
            kept.close()
        while worker.exitcode is None:
            worker.join(POLL_S)
            if stop() and not going_on.closed:
                going_on.close()
        return worker.exitcode


def _last_words(order: JobOrder, code: int) -> str:
    lines = (order.folder / LOG_TXT).read_text(errors="replace").strip().splitlines()
    ended = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return f"{lines[-1] if lines else 'no output'} ({ended})"


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    earlier = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
