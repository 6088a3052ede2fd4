import math

import pytest
import torch
from torch import Tensor

from elastier_contract.features import FeatureSchema, NumericColumn
from elastier_trainer.config import ObjectiveConfig
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.objective import binary_kl, distill_weight, matta_loss

LABELS_L = torch.tensor([1.0, 0.0])
TEACHER_R = torch.tensor([2.0, -1.0, 0.5])
TA_R = torch.tensor([1.0, -0.5, 0.0])
STUDENT_R = torch.tensor([0.5, 0.2, -0.3])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def kl_by_hand(target: Tensor, logits: Tensor, tau: float = 1.0) -> float:
    found = []
    for t, s in zip(target.tolist(), logits.tolist(), strict=True):
        p, q = sigmoid(t / tau), sigmoid(s / tau)
        found.append(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    return sum(found) / len(found)


def task_by_hand(logits: Tensor, labels: Tensor) -> float:
    found = [
        -math.log(sigmoid(s) if y else 1 - sigmoid(s))
        for s, y in zip(logits.tolist(), labels.tolist(), strict=False)
    ]
    return sum(found) / len(found)


def terms(
    config: ObjectiveConfig, w_distill: float = 1.0, teacher: Tensor | None = TEACHER_R
) -> dict[str, Tensor]:
    return matta_loss(
        config,
        ta_R=TA_R,
        students_R={"student": STUDENT_R},
        labels_L=LABELS_L,
        teacher_R=teacher,
        w_distill=w_distill,
    )


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_divergence_is_what_its_definition_says(tau: float) -> None:
    assert binary_kl(TEACHER_R, STUDENT_R, tau).item() == pytest.approx(
        kl_by_hand(TEACHER_R, STUDENT_R, tau), rel=1e-5
    )


def test_divergence_of_equal_logits_is_zero() -> None:
    assert binary_kl(TEACHER_R, TEACHER_R).item() == pytest.approx(0, abs=1e-7)


def test_divergence_of_huge_logits_is_finite_with_a_finite_gradient() -> None:
    logits = torch.tensor([-1e4, 1e4], requires_grad=True)
    divergence = binary_kl(torch.tensor([1e4, -1e4]), logits)
    divergence.backward()  # type: ignore[no-untyped-call]
    assert divergence.item() == pytest.approx(1e4)
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.5, 0.5])


def test_every_term_and_the_sum_by_hand() -> None:
    config = ObjectiveConfig(alpha=0.7, tau=2.0, w_student=1.5, w_ta=0.5)
    found = {name: term.item() for name, term in terms(config, w_distill=0.3).items()}
    expected = {
        "ta_task": task_by_hand(TA_R, LABELS_L),
        "ta_teacher": 4 * kl_by_hand(TEACHER_R, TA_R, 2.0),
        "student_task": task_by_hand(STUDENT_R, LABELS_L),
        "student_teacher": 4 * kl_by_hand(TEACHER_R, STUDENT_R, 2.0),
        "student_ta": 4 * kl_by_hand(TA_R, STUDENT_R, 2.0),
    }
    expected["loss"] = (
        0.5 * (0.3 * expected["ta_task"] + 0.7 * expected["ta_teacher"])
        + 1.5 * (0.3 * expected["student_task"] + 0.7 * expected["student_teacher"])
        + 0.3 * expected["student_ta"]
    )
    assert found == pytest.approx(expected, rel=1e-5)


def test_unlabelled_rows_change_only_the_divergences() -> None:
    config = ObjectiveConfig()
    without = matta_loss(
        config,
        ta_R=TA_R[:2],
        students_R={"student": STUDENT_R[:2]},
        labels_L=LABELS_L,
        teacher_R=TEACHER_R[:2],
        w_distill=1.0,
    )
    whole = terms(config)
    assert whole["ta_task"] == without["ta_task"]
    assert whole["student_task"] == without["student_task"]
    assert whole["student_teacher"] != without["student_teacher"]
    assert whole["student_ta"] != without["student_ta"]


def test_without_a_teacher_labels_and_the_ta_are_left() -> None:
    found = terms(ObjectiveConfig(alpha=0.0), teacher=None)
    assert set(found) == {"loss", "ta_task", "student_task", "student_ta"}
    assert found["loss"].item() == pytest.approx(
        sum(term.item() for name, term in found.items() if name != "loss")
    )


def test_the_teaching_of_the_ta_does_not_reach_the_weights_that_only_the_ta_has() -> None:
    torch.manual_seed(0)
    features = FeatureSchema(numeric=(NumericColumn(name="x", mean=0.0, std=1.0),))
    model = Ranker(features, model_dim=4, hidden=(8,))
    inputs = {"numeric": torch.randn(6, 1)}
    found = matta_loss(
        ObjectiveConfig(),
        ta_R=model(inputs, (8,)).squeeze(1),
        students_R={"student": model(inputs, (2,)).squeeze(1)},
        labels_L=torch.ones(6),
        teacher_R=torch.zeros(6),
        w_distill=1.0,
    )
    found["student_ta"].backward()  # type: ignore[no-untyped-call]
    for name in model.nested_parameters():
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert gradient[:2].any()
        assert not gradient[2:].any()


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (15, 1.0), (30, 2.0), (31, 2.0), (99, 2.0)])
def test_the_ramp_is_linear_from_zero(step: int, expected: float) -> None:
    assert distill_weight(ObjectiveConfig(w_distill=2.0, ramp_fraction=0.3), step, 100) == pytest.approx(
        expected
    )


def test_no_ramp_teaches_from_the_first_step() -> None:
    assert distill_weight(ObjectiveConfig(ramp_fraction=0.0), 0, 100) == 1.0
