"""The folder of a run: who may write to it, and what is written when.

.elastier-run    marks the folder as a run's; locked while a trainer works in it
config.yaml      repeats the run
metrics.jsonl    one line a step
tensorboard/     the same as events, if asked for
checkpoint/      the latest state, to resume from
model/           the trained model, written last
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from elastier_contract import atomic
from elastier_trainer.checkpoint import CHECKPOINT_FOLDER, STATE_JSON, RunState, has_checkpoint
from elastier_trainer.errors import TrainerError
from elastier_trainer.trained import MODEL_FOLDER, MODEL_JSON

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CONFIG_YAML = "config.yaml"
METRICS_JSONL = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
DIVERGENCE_JSON = "divergence.json"
MARKER = ".elastier-run"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Make the run's folder if need be, and keep every other trainer out of it.

    Raises:
        TrainerError: The folder holds something else than a run, or another trainer works in it.
    """
    if run.exists() and not (run.is_dir() and ((run / MARKER).exists() or not any(run.iterdir()))):
        raise TrainerError(
            f"{run}: expected a new or empty folder, or that of an earlier run; found something else"
        )
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / MARKER, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainerError(
                f"{run}: another trainer works in this folder; wait, or choose another"
            ) from error
        yield
    finally:
        os.close(descriptor)


def is_finished(run: Path) -> bool:
    """Whether the run's model was written."""
    return (run / MODEL_FOLDER / MODEL_JSON).is_file()


def check_free(run: Path) -> None:
    """Refuse to begin where something would be lost.

    Raises:
        TrainerError: The folder holds a finished run, or one that can be resumed.
    """
    found = None
    if is_finished(run):
        found = "a finished run"
    elif has_checkpoint(run):
        found = "an unfinished run"
    if found:
        raise TrainerError(
            f"{run}: expected no run, found {found}; continue it with --resume or start over with --force"
        )


def discard(run: Path) -> None:
    """Remove what a run wrote; killed in between, what is left looks neither finished nor resumable."""
    for folder, record in ((MODEL_FOLDER, MODEL_JSON), (CHECKPOINT_FOLDER, STATE_JSON)):
        (run / folder / record).unlink(missing_ok=True)
        shutil.rmtree(run / folder, ignore_errors=True)
    shutil.rmtree(run / TENSORBOARD_FOLDER, ignore_errors=True)
    for name in (METRICS_JSONL, DIVERGENCE_JSON):
        (run / name).unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class FolderJournal:
    """A run's traces as files in its folder."""

    run: Path
    metrics: TextIO
    save_state: Callable[[RunState], None]
    events: "SummaryWriter | None"

    def log(self, record: dict[str, Any]) -> None:
        """Append a line, and hand it to the system at once: a killed run keeps it."""
        self.metrics.write(json.dumps(record) + "\n")
        self.metrics.flush()
        if self.events is not None:
            for name, value in _scalars(record):
                self.events.add_scalar(name, value, record["step"])

    def save(self, state: RunState) -> None:
        """Replace the run's checkpoint."""
        self.save_state(state)

    def diverged(self, record: dict[str, Any]) -> None:
        """Write the step's terms and all its row ids to a file of its own."""
        atomic.write_file(self.run / DIVERGENCE_JSON, json.dumps(record, indent=1).encode())


@contextmanager
def open_journal(
    run: Path, step: int, save_state: Callable[[RunState], None], *, tensorboard: bool = False
) -> Iterator[FolderJournal]:
    """Open the run's journal at a step: lines of later steps, which will be taken again, are dropped."""
    path = run / METRICS_JSONL
    kept = [line for line in _lines(path) if _step_of(line) <= step]
    atomic.write_file(path, b"".join(line + b"\n" for line in kept))
    with path.open("a", encoding="utf-8") as metrics, ExitStack() as stack:
        events = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - a second of imports, for few

            events = SummaryWriter(run / TENSORBOARD_FOLDER, purge_step=step + 1)
            stack.callback(events.close)
        yield FolderJournal(run=run, metrics=metrics, save_state=save_state, events=events)


def _scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers of a line of metrics, those inside of groups as `group/name`."""
    for name, value in record.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{inner}", number) for inner, number in value.items())
        elif name != "step" and isinstance(value, int | float):
            yield name, value


def _lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    # What follows the last line break is the line that a killed run did not finish.
    return path.read_bytes().split(b"\n")[:-1]


def _step_of(line: bytes) -> float:
    try:
        step: float = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
    return step
