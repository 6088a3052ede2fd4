"""How tiers are timed."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How tiers are timed."""

    threads: int = 1
    """Threads of one run."""
    runs: int = 30
    """Timed runs per tier and batch size."""
