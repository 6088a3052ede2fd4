"""What is learned: how outputs are judged against labels and against a teacher.

Shapes: R rows of which the first L are labelled, C outputs a row (1 for binary and regression).
"""

from typing import Protocol

from torch import Tensor

from elastier_trainer.metrics import Interval


class Task(Protocol):
    """A kind of label, with its loss, its divergence and its metric; write your own for your own loss."""

    @property
    def name(self) -> str:
        """Such as `binary`."""
        ...

    @property
    def outputs(self) -> int:
        """C, outputs a row."""
        ...

    @property
    def metric(self) -> str:
        """Name of what `evaluate` gives; more is better."""
        ...

    @property
    def chance(self) -> float:
        """The metric of a useless answer."""
        ...

    def loss(self, logits_LC: Tensor, labels_L: Tensor) -> Tensor:
        """Mean loss against labels, a scalar."""
        ...

    def divergence(self, target_RC: Tensor, logits_RC: Tensor, tau: float) -> Tensor:
        """Mean divergence from a target model's outputs (KL of both softened by tau, times tau²), a scalar."""
        ...

    def evaluate(self, logits_RC: Tensor, labels_R: Tensor) -> Interval:
        """The metric on these rows, with its 95 % interval."""
        ...
