"""The MatTA objective: teacher → TA, teacher → student and TA → student, in one loss (arXiv 2505.23337).

    L = w_student·Σ L(student) + w_ta·L(TA) + w_distill·Σ D(TA → student)
    L(x) = (1 − alpha)·loss(x, label) + alpha·divergence(teacher → x)
    D(TA → student) = divergence(TA → student), the TA's logits detached

Loss and divergence are those of the task; a divergence contains its tau². The sums go over the students of the
step. The loss is a mean over labelled rows, a divergence one over all rows.

Shapes: R rows of a batch, of which the first L are labelled, C outputs a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor

from elastier_trainer.checked import STRICT, Fraction, Positive, Weight
from elastier_trainer.errors import ConfigError
from elastier_trainer.schedule import Ramp, between
from elastier_trainer.task import Task

TA = "ta"
MIDDLE = "middle"
"""Name of the sampled intermediate student of a step."""
STUDENT, DISTILL = "student", "distill"


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """L = w_student·L(student) + w_ta·L(TA) + w_distill·D(TA → student) (MatTA, arXiv 2505.23337)."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    alpha: Fraction = 0.9
    """Share of the teacher in L(x) = (1 − alpha)·loss + alpha·divergence(teacher → x)."""
    tau: Positive = 1.0
    """Temperature that softens both sides of a divergence."""
    w_student: Weight = 1.0
    w_student_end: Weight | None = None
    """What `w_student` becomes, on a line, by the last step; null keeps it."""
    w_middle: Weight | None = None
    """Weight of the sampled intermediate student; null takes that of the student."""
    w_ta: Weight = 1.0
    w_distill: Weight = 1.0
    ramp: Ramp = field(default_factory=Ramp)
    """How `w_distill` grows from 0: what the TA says before it knows something does harm."""


class MattaObjective:
    """The loss of a step: pure arithmetic on logits.

    Args:
        config: Weights, alpha and tau.
        task: Loss and divergence; your own gives your own loss.
    """

    def __init__(self, config: ObjectiveConfig, task: Task) -> None:
        self.config = config
        self.task = task

    def weights_at(self, step: int, steps: int) -> dict[str, float]:
        """Weights at a step (from 0) of a run of `steps`, by `ta`, `student`, `middle` and `distill`."""
        config = self.config
        end = config.w_student if config.w_student_end is None else config.w_student_end
        student = between(config.w_student, end, step, steps)
        return {
            TA: config.w_ta,
            STUDENT: student,
            MIDDLE: student if config.w_middle is None else config.w_middle,
            DISTILL: config.w_distill * config.ramp.at(step, steps),
        }

    def terms(
        self,
        *,
        ta_RC: Tensor,
        students_RC: Mapping[str, Tensor],
        labels_L: Tensor,
        teacher_RC: Tensor | None,
        step: int,
        steps: int,
    ) -> dict[str, Tensor]:
        """All terms of the objective, unweighted, and their weighted sum under `loss`.

        Args:
            ta_RC: Logits of the TA.
            students_RC: Name → logits of each student of this step; the name `middle` has `w_middle`.
            labels_L: Labels of the first L rows; none (L = 0) leaves the labels' term out.
            teacher_RC: Logits of the frozen teacher; None leaves the teacher's term out.
            step: Steps taken before this one.
            steps: Steps of the whole run.

        Returns:
            Scalars `<name>_task` (with labels), `<name>_teacher` (with a teacher) and `<student>_ta`, where
            the TA's name is `ta`, and `loss`.

        Raises:
            ConfigError: Neither labels nor teacher has any weight, so there is nothing to learn; or a student
                has the TA's name.
        """
        if TA in students_RC:
            raise ConfigError(f"objective: expected students under names of their own, got one named {TA!r}")
        self._check(bool(len(labels_L)), teacher_RC is not None)
        weights = self.weights_at(step, steps)
        logits_of = {name: _exact(logits_RC) for name, logits_RC in {TA: ta_RC, **students_RC}.items()}
        terms: dict[str, Tensor] = {}
        loss = torch.zeros_like(logits_of[TA][0, 0])
        for name, logits_RC in logits_of.items():
            weight = weights[name if name in (TA, MIDDLE) else STUDENT]
            loss = loss + weight * self._supervised(name, logits_RC, labels_L, teacher_RC, terms)
            if name != TA:
                target_RC = logits_of[TA].detach()
                terms[f"{name}_ta"] = self.task.divergence(target_RC, logits_RC, self.config.tau)
                loss = loss + weights[DISTILL] * terms[f"{name}_ta"]
        return {"loss": loss, **terms}

    def _supervised(
        self,
        name: str,
        logits_RC: Tensor,
        labels_L: Tensor,
        teacher_RC: Tensor | None,
        terms: dict[str, Tensor],
    ) -> Tensor:
        """L(x) of one sub-model; its terms are noted in `terms`."""
        alpha = self.config.alpha
        loss = torch.zeros_like(logits_RC[0, 0])
        if len(labels_L):
            terms[f"{name}_task"] = self.task.loss(logits_RC[: len(labels_L)], labels_L)
            loss = loss + (1 - alpha) * terms[f"{name}_task"]
        if teacher_RC is not None:
            terms[f"{name}_teacher"] = self.task.divergence(_exact(teacher_RC), logits_RC, self.config.tau)
            loss = loss + alpha * terms[f"{name}_teacher"]
        return loss

    def _check(self, labels: bool, teacher: bool) -> None:
        config = self.config
        if not any((config.w_ta, config.w_student, config.w_student_end, config.w_middle)):
            raise ConfigError("objective: expected w_ta, w_student or w_middle above 0, got all of them 0")
        if not (labels and config.alpha < 1) and not (teacher and config.alpha > 0):
            raise ConfigError(
                "objective: expected labels and alpha below 1, or a teacher and alpha above 0; "
                f"got {'labels' if labels else 'no labels'}, {'a teacher' if teacher else 'no teacher'} "
                f"and alpha {config.alpha:g}, which leaves nothing to learn"
            )


def _exact(logits: Tensor) -> Tensor:
    """Half-precision logits as 32-bit: losses are differences of nearly equal numbers."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
