"""Losses, divergences and metrics of the built-in tasks, against their definitions."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.task import BinaryTask, MulticlassTask, RegressionTask, Task, make_task

TASKS: list[Task] = [BinaryTask(), MulticlassTask(classes=3), RegressionTask(label_mean=5.0, label_std=2.0)]
LABELS = {
    "binary": torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]),
    "multiclass": torch.tensor([2, 0, 1, 1, 0]),
    "regression": torch.tensor([5.0, 8.0, 1.0, 6.0, 4.0]),
}


def logits_of(task: Task, seed: int) -> Tensor:
    return torch.randn(5, task.outputs, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_equal_outputs_do_not_diverge_and_others_do(task: Task) -> None:
    target_RC, logits_RC = logits_of(task, 0), logits_of(task, 1)
    assert task.divergence(target_RC, target_RC, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert task.divergence(target_RC, logits_RC, 2.0) > 0.01


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_steps_down_the_gradient_lower_loss_and_divergence(task: Task) -> None:
    target_RC, labels_R = logits_of(task, 0), LABELS[task.name]
    values: list[Callable[[Tensor], Tensor]] = [
        lambda logits_RC: task.loss(logits_RC, labels_R),
        lambda logits_RC: task.divergence(target_RC, logits_RC, 2.0),
    ]
    for value_of in values:
        logits_RC = logits_of(task, 1).requires_grad_()
        before = value_of(logits_RC)
        (gradient_RC,) = torch.autograd.grad(before, logits_RC)
        assert value_of(logits_RC.detach() - 0.1 * gradient_RC) < before


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_binary_is_multiclass_with_two_classes(tau: float) -> None:
    binary, two = BinaryTask(), MulticlassTask(classes=2)
    target_RC, logits_RC = logits_of(binary, 0), logits_of(binary, 1)
    target_of_two, logits_of_two = (F.pad(column, (1, 0)) for column in (target_RC, logits_RC))
    assert two.divergence(target_of_two, logits_of_two, tau).item() == pytest.approx(
        binary.divergence(target_RC, logits_RC, tau).item(), rel=1e-5
    )
    labels_R = LABELS["binary"]
    assert two.loss(logits_of_two, labels_R.long()).item() == pytest.approx(
        binary.loss(logits_RC, labels_R).item(), rel=1e-5
    )


def test_the_categorical_divergence_is_what_its_definition_says() -> None:
    task = MulticlassTask(classes=3)
    target_RC, logits_RC = logits_of(task, 0), logits_of(task, 1)
    p_RC, q_RC = (target_RC / 3).softmax(1), (logits_RC / 3).softmax(1)
    expected = 9 * (p_RC * (p_RC / q_RC).log()).sum(1).mean()
    assert task.divergence(target_RC, logits_RC, 3.0).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("task", TASKS[:2], ids=lambda task: task.name)
def test_huge_logits_diverge_finitely_with_a_finite_gradient(task: Task) -> None:
    target_RC = 1e4 * torch.eye(2, task.outputs)
    logits_RC = (-target_RC).requires_grad_()
    divergence = task.divergence(target_RC, logits_RC, 1.0)
    divergence.backward()  # type: ignore[no-untyped-call]
    assert logits_RC.grad is not None
    assert torch.isfinite(divergence)
    assert divergence > 1e3
    assert torch.isfinite(logits_RC.grad).all()


def test_regression_is_in_deviations_of_the_labels() -> None:
    task = RegressionTask(label_mean=5.0, label_std=2.0)
    labels_R = LABELS["regression"]
    right_RC = ((labels_R - 5) / 2).unsqueeze(1)
    assert task.loss(right_RC, labels_R).item() == 0
    assert task.loss(right_RC + 1, labels_R).item() == pytest.approx(1)
    assert task.divergence(right_RC, right_RC + 2, 7.0).item() == pytest.approx(4)
    assert task.evaluate(right_RC, labels_R).value == 1


def test_useless_answers_have_the_metric_of_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    labels_R = torch.randint(0, 10, (4000,), generator=generator)
    labels_R = torch.where(labels_R < 6, 0, labels_R % 3)
    constant_RC = torch.tensor([1.0, 0.0, 0.0]).expand(4000, 3)
    share = (labels_R == 0).double().mean().item()
    multiclass = MulticlassTask(classes=3, largest_share=share)
    assert multiclass.evaluate(constant_RC, labels_R).value == multiclass.chance == pytest.approx(share)
    binary = BinaryTask()
    assert binary.evaluate(torch.zeros(4000, 1), (labels_R == 0).float()).value == binary.chance
    numbers_R = torch.randn(4000, generator=generator).double()
    regression = RegressionTask()
    found = regression.evaluate(numbers_R.mean().expand(4000, 1), numbers_R)
    assert found.value == pytest.approx(regression.chance, abs=1e-9)


def test_tasks_are_made_by_name() -> None:
    assert make_task("binary") == BinaryTask()
    assert make_task("multiclass", classes=4, largest_share=0.4) == MulticlassTask(
        classes=4, largest_share=0.4
    )
    assert make_task("multiclass", classes=4).chance == 0.25
    assert make_task("regression", label_mean=3.0, label_std=2.0) == RegressionTask(
        label_mean=3.0, label_std=2.0
    )
    assert [make_task("binary").outputs, make_task("multiclass", classes=4).outputs] == [1, 4]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ordinal", {}, "expected binary, multiclass or regression, got 'ordinal'"),
        ("multiclass", {}, "expected the number of classes, got none"),
        ("multiclass", {"classes": 1}, "expected at least 2 classes, got 1"),
        ("multiclass", {"classes": 4, "largest_share": 0.2}, "a share between 0.25 and 1, got 0.2"),
        ("regression", {"label_std": 0.0}, "a finite deviation above 0 of the labels, got 0.0 and 0.0"),
        ("regression", {"label_mean": math.nan}, "expected a finite mean"),
    ],
)
def test_what_makes_no_task_is_refused(name: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(name, **arguments)


def test_a_logit_that_is_not_finite_has_no_class() -> None:
    logits_RC = torch.zeros(4, 3)
    logits_RC[2, 1] = math.nan
    with pytest.raises(DataError, match=r"expected finite logits, got \[0.0, nan, 0.0\] at row 2"):
        MulticlassTask(classes=3).evaluate(logits_RC, torch.zeros(4, dtype=torch.int64))
