"""The MatTA objective: teacher → TA, teacher → student and TA → student, in one loss (arXiv 2505.23337).

    L = w_student·Σ L(student) + w_ta·L(TA) + w_distill(t)·Σ D(TA → student)
    L(x) = (1 − alpha)·task(x, label) + alpha·tau²·KL(teacher ‖ x)
    D(TA → student) = tau²·KL(TA ‖ student), the TA's logits detached

The sums go over the students of the step. The task loss is a mean over labelled rows, KL one over all rows.

Shapes: R rows of a batch, of which the first L are labelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict
from torch import Tensor
from torch.nn import functional as F

from elastier_trainer.checked import STRICT, Fraction, Positive, Weight

TA = "ta"


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """L = w_student·L(student) + w_ta·L(TA) + w_distill(t)·D(TA → student) (MatTA, arXiv 2505.23337)."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    alpha: Fraction = 0.9
    """Share of the teacher in L(x) = (1 − alpha)·task + alpha·tau²·KL(teacher ‖ x)."""
    tau: Positive = 1.0
    w_student: Weight = 1.0
    w_ta: Weight = 1.0
    w_distill: Weight = 1.0
    ramp_fraction: Fraction = 0.3
    """Share of the steps over which `w_distill` grows from 0."""


def binary_kl(target_R: Tensor, logits_R: Tensor, tau: float = 1.0) -> Tensor:
    """Mean KL(target ‖ logits) between Bernoulli distributions, in nats, both softened by `tau`.

    Cross-entropy minus the target's entropy, both from logits: finite for logits of any finite size.
    """
    target_R, logits_R = target_R / tau, logits_R / tau
    probability_R = target_R.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits_R, probability_R)
    return cross_entropy - F.binary_cross_entropy_with_logits(target_R, probability_R)


def distill_weight(config: ObjectiveConfig, step: int, steps: int) -> float:
    """`w_distill` at a step: linear from 0 over the first `ramp_fraction` of the steps, then constant."""
    ramp_steps = config.ramp_fraction * steps
    return config.w_distill * (min(1.0, step / ramp_steps) if ramp_steps > 0 else 1.0)


def matta_loss(
    config: ObjectiveConfig,
    *,
    ta_R: Tensor,
    students_R: Mapping[str, Tensor],
    labels_L: Tensor,
    teacher_R: Tensor | None,
    w_distill: float,
) -> dict[str, Tensor]:
    """All terms of the objective, unweighted, and their weighted sum under `loss`.

    Args:
        config: Weights, alpha and tau.
        ta_R: Logits of the TA.
        students_R: Name → logits of each student of this step.
        labels_L: 0 or 1 for the first L rows.
        teacher_R: Logits of the frozen teacher; may be None if `alpha` is 0.
        w_distill: Weight of TA → student at this step, from `distill_weight`.

    Returns:
        `<name>_task`, `<name>_teacher` (with a teacher) and `<student>_ta`, as scalars, and `loss`.
    """
    terms: dict[str, Tensor] = {}
    loss = config.w_ta * _supervised(config, TA, ta_R, labels_L, teacher_R, terms)
    for name, logits_R in students_R.items():
        loss = loss + config.w_student * _supervised(config, name, logits_R, labels_L, teacher_R, terms)
        terms[f"{name}_ta"] = config.tau**2 * binary_kl(ta_R.detach(), logits_R, config.tau)
        loss = loss + w_distill * terms[f"{name}_ta"]
    return {"loss": loss, **terms}


def _supervised(
    config: ObjectiveConfig,
    name: str,
    logits_R: Tensor,
    labels_L: Tensor,
    teacher_R: Tensor | None,
    terms: dict[str, Tensor],
) -> Tensor:
    """L(x) of one sub-model; its terms are noted in `terms`."""
    task = F.binary_cross_entropy_with_logits(logits_R[: len(labels_L)], labels_L)
    terms[f"{name}_task"] = task
    if teacher_R is None:
        return (1 - config.alpha) * task
    teacher = config.tau**2 * binary_kl(teacher_R, logits_R, config.tau)
    terms[f"{name}_teacher"] = teacher
    return (1 - config.alpha) * task + config.alpha * teacher
