"""An engine under a test's hand: it waits for a word before each run, or fails on demand."""

import threading

import numpy as np

from elastier_server.engine.engine import Tensors


class FakeEngine:
    """Answers with the sum of each row of numbers; the tier of every run is kept."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        """Tier and rows of each run."""
        self.error: Exception | None = None
        self.lost_rows = 0
        """Rows that are missing at the end of every answer."""
        self.open = threading.Event()
        """Set: runs go through. Cleared: a run waits until it is set."""
        self.open.set()
        self.entered = threading.Event()
        """Set when a run begins."""

    def run(self, tier: int, inputs: Tensors) -> Tensors:
        numbers = inputs["numeric"]
        self.runs.append((tier, len(numbers)))
        self.entered.set()
        if not self.open.wait(timeout=30):
            raise TimeoutError("the test never opened the engine")
        if self.error is not None:
            raise self.error
        numbers = numbers[: len(numbers) - self.lost_rows]
        return {"logits": numbers.sum(axis=1, keepdims=True, dtype=np.float32)}
