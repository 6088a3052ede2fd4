import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elastier_trainer.errors import ConfigError
from elastier_trainer.metrics import Interval
from elastier_trainer.objective import MattaObjective, ObjectiveConfig
from elastier_trainer.schedule import Ramp
from elastier_trainer.task import BinaryTask, MulticlassTask

LABELS_L = torch.tensor([1.0, 0.0])
TEACHER_RC = torch.tensor([2.0, -1.0, 0.5]).unsqueeze(1)
TA_RC = torch.tensor([1.0, -0.5, 0.0]).unsqueeze(1)
STUDENT_RC = torch.tensor([0.5, 0.2, -0.3]).unsqueeze(1)
AT_ONCE = Ramp(shape="constant")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def kl_by_hand(target: Tensor, logits: Tensor, tau: float = 1.0) -> float:
    found = []
    for t, s in zip(target.flatten().tolist(), logits.flatten().tolist(), strict=True):
        p, q = sigmoid(t / tau), sigmoid(s / tau)
        found.append(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    return sum(found) / len(found)


def task_by_hand(logits: Tensor, labels: Tensor) -> float:
    found = [
        -math.log(sigmoid(s) if y else 1 - sigmoid(s))
        for s, y in zip(logits.flatten().tolist(), labels.tolist(), strict=False)
    ]
    return sum(found) / len(found)


def terms(config: ObjectiveConfig, **changed: Any) -> dict[str, Tensor]:
    arguments: dict[str, Any] = {
        "ta_RC": TA_RC,
        "students_RC": {"student": STUDENT_RC},
        "labels_L": LABELS_L,
        "teacher_RC": TEACHER_RC,
        "step": 0,
        "steps": 100,
    } | changed
    return MattaObjective(config, BinaryTask()).terms(**arguments)


def test_every_term_and_the_sum_by_hand() -> None:
    config = ObjectiveConfig(alpha=0.7, tau=2.0, w_student=1.5, w_ta=0.5, w_middle=0.25, w_distill=0.6)
    middle_RC = torch.tensor([0.7, -0.1, 0.4]).unsqueeze(1)
    found = terms(config, students_RC={"student": STUDENT_RC, "middle": middle_RC}, step=15)
    expected = {
        f"{name}_{term}": value
        for name, logits in (("ta", TA_RC), ("student", STUDENT_RC), ("middle", middle_RC))
        for term, value in (
            ("task", task_by_hand(logits, LABELS_L)),
            ("teacher", 4 * kl_by_hand(TEACHER_RC, logits, 2.0)),
            ("ta", 4 * kl_by_hand(TA_RC, logits, 2.0)),
        )
        if (name, term) != ("ta", "ta")
    }
    expected["loss"] = (
        0.5 * (0.3 * expected["ta_task"] + 0.7 * expected["ta_teacher"])
        + 1.5 * (0.3 * expected["student_task"] + 0.7 * expected["student_teacher"])
        + 0.25 * (0.3 * expected["middle_task"] + 0.7 * expected["middle_teacher"])
        + 0.6 * 0.5 * (expected["student_ta"] + expected["middle_ta"])
    )
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-5)


def test_unlabelled_rows_change_only_the_divergences() -> None:
    whole = terms(ObjectiveConfig())
    without = terms(
        ObjectiveConfig(), ta_RC=TA_RC[:2], students_RC={"student": STUDENT_RC[:2]}, teacher_RC=TEACHER_RC[:2]
    )
    assert whole["ta_task"] == without["ta_task"]
    assert whole["student_task"] == without["student_task"]
    assert whole["student_teacher"] != without["student_teacher"]
    assert whole["student_ta"] != without["student_ta"]


def test_without_a_teacher_labels_and_the_ta_are_left() -> None:
    found = terms(ObjectiveConfig(alpha=0.0, ramp=AT_ONCE), teacher_RC=None)
    assert set(found) == {"loss", "ta_task", "student_task", "student_ta"}
    assert found["loss"].item() == pytest.approx(
        sum(term.item() for name, term in found.items() if name != "loss")
    )


def test_without_labels_teacher_and_ta_are_left() -> None:
    found = terms(ObjectiveConfig(alpha=1.0, ramp=AT_ONCE), labels_L=torch.empty(0))
    assert set(found) == {"loss", "ta_teacher", "student_teacher", "student_ta"}
    assert found["loss"].item() == pytest.approx(
        sum(term.item() for name, term in found.items() if name != "loss")
    )


@pytest.mark.parametrize(
    ("config", "changed", "message"),
    [
        (ObjectiveConfig(alpha=1.0), {"teacher_RC": None}, "got labels, no teacher and alpha 1"),
        (ObjectiveConfig(alpha=0.0), {"labels_L": torch.empty(0)}, "got no labels, a teacher and alpha 0"),
        (ObjectiveConfig(), {"labels_L": torch.empty(0), "teacher_RC": None}, "got no labels, no teacher"),
        (ObjectiveConfig(w_ta=0, w_student=0), {}, "expected w_ta, w_student or w_middle above 0"),
        (ObjectiveConfig(), {"students_RC": {"ta": TA_RC}}, "got one named 'ta'"),
    ],
)
def test_an_objective_with_nothing_to_learn_is_refused(
    config: ObjectiveConfig, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        terms(config, **changed)


def test_the_teaching_of_the_ta_does_not_reach_the_ta() -> None:
    ta_RC, student_RC = TA_RC.clone().requires_grad_(), STUDENT_RC.clone().requires_grad_()
    found = terms(ObjectiveConfig(), ta_RC=ta_RC, students_RC={"student": student_RC})
    found["student_ta"].backward()  # type: ignore[no-untyped-call]
    assert ta_RC.grad is None
    assert student_RC.grad is not None
    assert student_RC.grad.all()


def test_half_precision_logits_are_compared_in_full_precision() -> None:
    half = terms(
        ObjectiveConfig(), ta_RC=TA_RC.bfloat16(), students_RC={"student": STUDENT_RC.bfloat16()}, step=50
    )
    whole = terms(
        ObjectiveConfig(),
        ta_RC=TA_RC.bfloat16().float(),
        students_RC={"student": STUDENT_RC.bfloat16().float()},
        step=50,
    )
    assert half == whole
    assert half["loss"].dtype == torch.float32


def test_classes_are_taught_too() -> None:
    torch.manual_seed(0)
    ta_RC, student_RC, teacher_RC = torch.randn(3, 6, 4).unbind()
    labels_L = torch.tensor([3, 0, 1])
    found = MattaObjective(ObjectiveConfig(alpha=0.5, ramp=AT_ONCE), MulticlassTask(classes=4)).terms(
        ta_RC=ta_RC,
        students_RC={"w8": student_RC},
        labels_L=labels_L,
        teacher_RC=teacher_RC,
        step=0,
        steps=1,
    )
    p_RC, q_RC = ta_RC.softmax(1), student_RC.softmax(1)
    assert found["w8_ta"].item() == pytest.approx((p_RC * (p_RC / q_RC).log()).sum(1).mean().item(), rel=1e-5)
    supervised = [found[f"{name}_{term}"].item() for name in ("ta", "w8") for term in ("task", "teacher")]
    assert found["loss"].item() == pytest.approx(0.5 * sum(supervised) + found["w8_ta"].item(), rel=1e-5)


def test_weights_go_on_their_ways() -> None:
    objective = MattaObjective(
        ObjectiveConfig(w_student=3.0, w_student_end=1.0, w_distill=2.0, ramp=Ramp(start=0.2, end=0.6)),
        BinaryTask(),
    )
    found = [objective.weights_at(step, 11) for step in range(11)]
    assert [at["student"] for at in found] == pytest.approx([3 - 0.2 * step for step in range(11)])
    assert [at["middle"] for at in found] == [at["student"] for at in found]
    assert {at["ta"] for at in found} == {1.0}
    assert [at["distill"] for at in found[:3]] == [0, 0, 0]
    assert found[-1]["distill"] == 2.0


@dataclass(frozen=True)
class PinballTask:
    """A loss of one's own: the quantile of a skewed label, judged by the share of rows below it."""

    quantile: float
    name: str = "pinball"
    outputs: int = 1
    metric: str = "closeness"
    chance: float = 0.0

    def loss(self, logits_LC: Tensor, labels_L: Tensor) -> Tensor:
        below_L = labels_L - logits_LC.squeeze(1)
        return torch.maximum(self.quantile * below_L, (self.quantile - 1) * below_L).mean()

    def divergence(self, target_RC: Tensor, logits_RC: Tensor, tau: float) -> Tensor:
        return F.l1_loss(logits_RC, target_RC) * tau

    def evaluate(self, logits_RC: Tensor, labels_R: Tensor) -> Interval:
        share = (labels_R <= logits_RC.squeeze(1)).float().mean().item()
        close = 1 - abs(share - self.quantile)
        return Interval(value=close, low=close, high=close, rows=len(labels_R))


def test_a_task_of_ones_own_trains_to_its_own_optimum() -> None:
    torch.manual_seed(0)
    labels_R = torch.randn(500).exp()
    task = PinballTask(quantile=0.8)
    objective = MattaObjective(ObjectiveConfig(alpha=0.0, w_distill=0.5), task)
    levels = nn.ParameterDict({name: torch.zeros(1, 1) for name in ("ta", "student")})
    optimizer = torch.optim.Adam(levels.parameters(), lr=0.05)
    for step in range(150):
        outputs = {name: level.expand(500, 1) for name, level in levels.items()}
        found = objective.terms(
            ta_RC=outputs.pop("ta"),
            students_RC=outputs,
            labels_L=labels_R,
            teacher_RC=None,
            step=step,
            steps=150,
        )
        optimizer.zero_grad()
        found["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for level in levels.values():
        assert task.evaluate(level.detach().expand(500, 1), labels_R).value > 0.97
