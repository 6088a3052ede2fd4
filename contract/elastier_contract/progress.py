"""How long work tells how far it is, without knowing who shows it."""

from collections.abc import Callable

Progress = Callable[[str, float, float, str], None]
"""Called as progress(task, done, total, detail), with done == total at the end."""


def counted(progress: Progress, task: str, total: int) -> Callable[[str], None]:
    """A function to call with a detail after each of `total` steps of a task."""
    done = 0

    def told(detail: str) -> None:
        nonlocal done
        done += 1
        progress(task, done, total, detail)

    return told


def no_progress(task: str, done: float, total: float, detail: str = "") -> None:
    """Show nothing."""
