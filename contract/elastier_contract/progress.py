"""How long work tells how far it is, without knowing who shows it."""

from collections.abc import Callable

Progress = Callable[[str, float, float, str], None]
"""Called as progress(task, done, total, detail), with done == total at the end."""


def no_progress(task: str, done: float, total: float, detail: str = "") -> None:
    """Show nothing."""
