"""How weights and learning rates change over a run: pure functions of the step."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from elastier_trainer.checked import STRICT, Fraction

Shape = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """From 0 to 1 between two moments of a run, given as shares of its steps; 0 before, 1 after.

    `constant` jumps to 1 at `start` and has no use for `end`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    shape: Shape = "linear"
    start: Fraction = 0.0
    end: Fraction = 0.3

    def __post_init__(self) -> None:
        if self.shape != "constant" and self.start > self.end:
            raise ValueError(f"expected a ramp that starts before it ends, got {self.start} to {self.end}")

    def at(self, step: int, steps: int) -> float:
        """The ramp's height, 0 to 1, at a step of a run of `steps`."""
        begun, length = step - self.start * steps, (self.end - self.start) * steps
        if begun < 0:
            return 0.0
        if self.shape == "constant" or begun >= length:
            return 1.0
        done = begun / length
        return done if self.shape == "linear" else 0.5 * (1 - math.cos(math.pi * done))


def rate_at(shape: Shape, warmup_fraction: float, step: int, steps: int) -> float:
    """Share of the highest learning rate at a step: a linear warm-up, then level, a line or half a cosine to 0."""
    warmup_steps = warmup_fraction * steps
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1.0, steps - warmup_steps)
    match shape:
        case "constant":
            return 1.0
        case "linear":
            return 1 - done
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))


def between(start: float, end: float, step: int, steps: int) -> float:
    """On the line from `start` at step 0 to `end` at the last step."""
    return start + (end - start) * step / max(1, steps - 1)
