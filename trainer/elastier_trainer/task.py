"""What is learned: how outputs are judged against labels and against a teacher.

Shapes: R rows of which the first L are labelled, C outputs a row (1 for binary and regression).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.metrics import Interval, accuracy_with_interval, auc_with_interval, r2_with_interval


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


TaskName = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True, kw_only=True)
class BinaryTask:
    """Labels 0 and 1, one logit a row."""

    name: ClassVar[str] = "binary"
    outputs: ClassVar[int] = 1
    metric: ClassVar[str] = "auc"
    chance: ClassVar[float] = 0.5

    def loss(self, logits_LC: Tensor, labels_L: Tensor) -> Tensor:
        """Binary cross-entropy in nats."""
        return F.binary_cross_entropy_with_logits(logits_LC.squeeze(1), labels_L)

    def divergence(self, target_RC: Tensor, logits_RC: Tensor, tau: float) -> Tensor:
        """KL between Bernoulli distributions, times tau²."""
        return tau**2 * binary_kl(target_RC, logits_RC, tau)

    def evaluate(self, logits_RC: Tensor, labels_R: Tensor) -> Interval:
        """The AUC with DeLong's interval; see `auc_with_interval` for errors."""
        return auc_with_interval(logits_RC.squeeze(1), labels_R)


@dataclass(frozen=True, kw_only=True)
class MulticlassTask:
    """Labels are class indices (int64) below `classes`, one logit a class.

    Raises:
        ConfigError: Fewer than two classes, or a share that no largest class can have.
    """

    classes: int
    largest_share: float | None = None
    """Share of the rows that the most frequent class has; None takes the classes for equally frequent."""

    name: ClassVar[str] = "multiclass"
    metric: ClassVar[str] = "accuracy"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ConfigError(f"a multiclass task: expected at least 2 classes, got {self.classes}")
        if self.largest_share is not None and not 1 / self.classes <= self.largest_share <= 1:
            raise ConfigError(
                f"a multiclass task: expected the largest of {self.classes} classes to have a share "
                f"between {1 / self.classes:.3g} and 1, got {self.largest_share}"
            )

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return self.classes

    @property
    def chance(self) -> float:
        """The accuracy of always naming the most frequent class."""
        return 1 / self.classes if self.largest_share is None else self.largest_share

    def loss(self, logits_LC: Tensor, labels_L: Tensor) -> Tensor:
        """Cross-entropy in nats."""
        return F.cross_entropy(logits_LC, labels_L)

    def divergence(self, target_RC: Tensor, logits_RC: Tensor, tau: float) -> Tensor:
        """KL between categorical distributions, times tau²."""
        target_RC, logits_RC = F.log_softmax(target_RC / tau, dim=1), F.log_softmax(logits_RC / tau, dim=1)
        return tau**2 * F.kl_div(logits_RC, target_RC, reduction="batchmean", log_target=True)

    def evaluate(self, logits_RC: Tensor, labels_R: Tensor) -> Interval:
        """The accuracy with Wilson's interval.

        Raises:
            DataError: No rows, or a logit that is not finite.
        """
        finite_R = torch.isfinite(logits_RC).all(dim=1)
        if not finite_R.all():
            row = int(finite_R.int().argmin())
            raise DataError(f"expected finite logits, got {logits_RC[row].tolist()} at row {row}")
        return accuracy_with_interval(logits_RC.argmax(dim=1), labels_R)


@dataclass(frozen=True, kw_only=True)
class RegressionTask:
    """Labels are numbers; the one output a row predicts them standardised.

    Raises:
        ConfigError: A mean that is not finite, or a deviation that is not above 0.
    """

    label_mean: float = 0.0
    label_std: float = 1.0
    """Of the training labels, in their unit: label = output · label_std + label_mean."""

    name: ClassVar[str] = "regression"
    outputs: ClassVar[int] = 1
    metric: ClassVar[str] = "r2"
    chance: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.label_mean) and math.isfinite(self.label_std) and self.label_std > 0):
            raise ConfigError(
                "a regression task: expected a finite mean and a finite deviation above 0 of the labels, "
                f"got {self.label_mean} and {self.label_std}"
            )

    def loss(self, logits_LC: Tensor, labels_L: Tensor) -> Tensor:
        """Mean squared error, in squared deviations of the labels."""
        return F.mse_loss(logits_LC.squeeze(1), self._standardised(labels_L))

    def divergence(self, target_RC: Tensor, logits_RC: Tensor, tau: float) -> Tensor:  # noqa: ARG002
        """Mean squared difference; `tau` has no effect: it cancels in tau² times that of outputs over tau."""
        return F.mse_loss(logits_RC, target_RC)

    def evaluate(self, logits_RC: Tensor, labels_R: Tensor) -> Interval:
        """R² with its interval by the delta method; see `r2_with_interval` for errors."""
        return r2_with_interval(logits_RC.squeeze(1), self._standardised(labels_R))

    def _standardised(self, labels: Tensor) -> Tensor:
        return (labels - self.label_mean) / self.label_std


def make_task(
    name: TaskName,
    *,
    classes: int | None = None,
    largest_share: float | None = None,
    label_mean: float = 0.0,
    label_std: float = 1.0,
) -> Task:
    """The task of a name.

    Args:
        name: `binary`, `multiclass` or `regression`.
        classes: Of a multiclass task, which cannot do without.
        largest_share: Of a multiclass task's most frequent class.
        label_mean: Of a regression task's training labels.
        label_std: Of a regression task's training labels.

    Raises:
        ConfigError: An unknown name, or a value that makes no such task.
    """
    match name:
        case "binary":
            return BinaryTask()
        case "multiclass":
            if classes is None:
                raise ConfigError("a multiclass task: expected the number of classes, got none")
            return MulticlassTask(classes=classes, largest_share=largest_share)
        case "regression":
            return RegressionTask(label_mean=label_mean, label_std=label_std)
        case _:
            raise ConfigError(f"task: expected binary, multiclass or regression, got {name!r}")


def binary_kl(target: Tensor, logits: Tensor, tau: float = 1.0) -> Tensor:
    """Mean KL(target ‖ logits) between Bernoulli distributions, in nats, both softened by `tau`.

    Cross-entropy minus the target's entropy, both from logits: finite for logits of any finite size.
    """
    target, logits = target / tau, logits / tau
    probability = target.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, probability)
    return cross_entropy - F.binary_cross_entropy_with_logits(target, probability)
