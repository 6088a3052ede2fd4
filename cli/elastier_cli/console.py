"""How every command talks: people on the terminal, scripts by JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from elastier_contract.progress import Progress

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout, for scripts."""
    print(json.dumps(document, indent=1, default=str, allow_nan=False))


def print_error(message: str) -> None:
    """Print one line on stderr."""
    _errors.print(Text.assemble(("error: ", "bold red"), message))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a progress callback that draws a bar per task on stderr, where a script's stdout stays clean."""
    bars = Bars(
        TextColumn("{task.description:>12}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
        console=_errors,
    )
    tasks: dict[str, TaskID] = {}

    def progress(task: str, done: float, total: float, detail: str = "") -> None:
        if task not in tasks:
            tasks[task] = bars.add_task(task, total=total, detail=detail)
        bars.update(tasks[task], completed=done, total=total, detail=detail)

    with bars:
        yield progress
