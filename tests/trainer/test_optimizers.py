"""Every optimizer learns, resumes to the bit, and says in words when its numbers are spoiled."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from elastier_trainer.averaging import WeightAverage
from elastier_trainer.errors import CheckpointError, DivergenceError
from elastier_trainer.optimizer import (
    ComposedOptimizer,
    OptimizerConfig,
    PreconditionerConfig,
    build_optimizer,
    learning_rate,
    load_optimizer_tensors,
    optimizer_tensors,
    served_weights,
    set_learning_rate,
)
from elastier_trainer.task import MulticlassTask

NAMES = ("adamw", "soap", "shampoo")
STEPS = 60
TASK = MulticlassTask(classes=10)


@cache
def digits() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return (torch.tensor(pixels, dtype=torch.float32) / 16)[order], torch.tensor(labels)[order]


class Reader(nn.Module):
    """A small reader of digits with all that optimizers treat differently: tables, matrices, vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(17, 8)
        self.up = nn.Linear(64 + 8, 96)
        self.norm = nn.LayerNorm(96)
        self.down = nn.Linear(96, 10)
        self.never_used = nn.Linear(3, 2)

    def forward(self, pixels_RP: Tensor) -> Tensor:
        looked_up = self.table((pixels_RP[:, 20] * 16).long())
        logits_RC: Tensor = self.down(F.gelu(self.norm(self.up(torch.cat([pixels_RP, looked_up], dim=1)))))
        return logits_RC


def reader(seed: int = 0) -> Reader:
    torch.manual_seed(seed)
    return Reader()


def config_of(name: Any, **changed: Any) -> OptimizerConfig:
    how = PreconditionerConfig(block_size=40, start_step=5, every=4)
    return OptimizerConfig(**({"name": name, "lr": 0.01, "preconditioner": how} | changed))


def train(model: Reader, optimizer: ComposedOptimizer, config: OptimizerConfig, steps: range) -> None:
    pixels_RP, labels_R = digits()
    for step in steps:
        rows = torch.randint(0, 1200, (64,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        TASK.loss(model(pixels_RP[rows]), labels_R[rows]).backward()  # type: ignore[no-untyped-call]
        set_learning_rate(optimizer, learning_rate(config, step, STEPS))
        optimizer.step()


def accuracy(model: Reader) -> float:
    pixels_RP, labels_R = digits()
    with torch.no_grad():
        return TASK.evaluate(model(pixels_RP[1200:]), labels_R[1200:]).value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_every_optimizer_learns_to_read_digits(name: str, ema_decay: float | None) -> None:
    config, model = config_of(name, ema_decay=ema_decay), reader()
    optimizer = build_optimizer(model, config)
    before = accuracy(model)
    train(model, optimizer, config, range(STEPS))
    last = model.up.weight.detach().clone()
    with served_weights(optimizer):
        assert before < 0.3
        assert accuracy(model) > 0.9
        assert torch.equal(model.up.weight, last) == (ema_decay is None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("stop", [1, 23])
def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(
    name: str, ema_decay: float | None, stop: int
) -> None:
    config, whole = config_of(name, ema_decay=ema_decay), reader()
    optimizer = build_optimizer(whole, config)
    train(whole, optimizer, config, range(stop))
    weights = safetensors.torch.save(whole.state_dict())
    state = safetensors.torch.save(optimizer_tensors(whole, optimizer))
    train(whole, optimizer, config, range(stop, stop + 10))

    torch.manual_seed(7)  # another process has drawn other numbers
    resumed = Reader()
    resumed.load_state_dict(safetensors.torch.load(weights))
    resumed_optimizer = build_optimizer(resumed, config)
    load_optimizer_tensors(resumed, resumed_optimizer, safetensors.torch.load(state))
    train(resumed, resumed_optimizer, config, range(stop, stop + 10))

    assert_equal(dict(whole.state_dict()), dict(resumed.state_dict()))
    assert_equal(optimizer_tensors(whole, optimizer), optimizer_tensors(resumed, resumed_optimizer))


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_leaves_the_callers_random_numbers_alone(name: str) -> None:
    config, model = config_of(name), reader()
    optimizer = build_optimizer(model, config)
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    train(model, optimizer, config, range(6))
    assert torch.equal(torch.randn(4), expected)


@pytest.mark.parametrize("name", ["soap", "shampoo"])
def test_only_matrices_are_preconditioned_and_only_up_to_the_largest_side(name: str) -> None:
    model = reader()
    how = PreconditionerConfig(max_side=80)
    optimizer = build_optimizer(model, config_of(name, lr_rest=0.002, preconditioner=how))
    names = {parameter: name for name, parameter in model.named_parameters()}
    matrices, decayed, vectors = ([names[p] for p in group["params"]] for group in optimizer.param_groups)
    assert matrices == ["never_used.weight"]
    assert decayed == ["table.weight", "up.weight", "down.weight"]
    assert sorted([*matrices, *decayed, *vectors]) == sorted(names.values())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01, 0.0]
    set_learning_rate(optimizer, 0.005)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.005, 0.001, 0.001])


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_pulls_matrices_alone(name: str) -> None:
    moved = {}
    for decay in (0.0, 0.5):
        model = reader()
        optimizer = build_optimizer(model, config_of(name, weight_decay=decay, warmup_fraction=0.0))
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.step()
        moved[decay] = {name: p.detach() for name, p in model.named_parameters()}
    for key, without in moved[0.0].items():
        if without.ndim == 1:
            assert torch.equal(moved[0.5][key], without)
        else:
            assert moved[0.5][key].norm() < without.norm()


@pytest.mark.parametrize("name", ["soap", "shampoo"])
def test_a_factor_that_overflows_is_named(name: str) -> None:
    config, model = config_of(name), reader()
    optimizer = build_optimizer(model, config)
    train(model, optimizer, config, range(3))

    def steps_with(gradient: float) -> None:
        for _ in range(8):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 1e-3)
            assert model.up.weight.grad is not None
            model.up.weight.grad[0] = gradient
            optimizer.step()

    with pytest.raises(
        DivergenceError, match=r"step \d+: expected finite preconditioner factors.*up\.weight;"
    ):
        steps_with(1e30)


def test_the_state_of_another_optimizer_is_refused() -> None:
    states = {}
    for name in NAMES:
        config, model = config_of(name), reader()
        optimizer = build_optimizer(model, config)
        train(model, optimizer, config, range(2))
        states[name] = optimizer_tensors(model, optimizer)
    for name in NAMES:
        for other in set(NAMES) - {name}:
            model = reader()
            with pytest.raises(CheckpointError, match="optimizer state"):
                load_optimizer_tensors(model, build_optimizer(model, config_of(name)), states[other])


def wider(state: dict[str, Tensor]) -> None:
    state["up.weight:exp_avg"] = torch.zeros(96, 73)


def lost(state: dict[str, Tensor]) -> None:
    del state["up.weight:exp_avg"]


def unread(state: dict[str, Tensor]) -> None:
    state["values.json"] = torch.tensor([123, 120], dtype=torch.uint8)


def unvalued(state: dict[str, Tensor]) -> None:
    del state["values.json"]


def unaveraged(state: dict[str, Tensor]) -> None:
    del state["average:up.weight"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (wider, r"'up.weight:exp_avg' fits no parameter: expected torch.float32 \(96, 72\), got .*73"),
        (lost, r"'up.weight:exp_avg' fits no parameter: expected torch.float32 \(96, 72\), got none"),
        (unread, "'values.json': not JSON"),
        (unvalued, "expected 'values.json' among the tensors, got none"),
        (unaveraged, r"average of 'up.weight': expected shape \(96, 72\) in the checkpoint, got none"),
    ],
)
def test_damaged_state_is_refused(damage: Callable[[dict[str, Tensor]], None], message: str) -> None:
    config, model = config_of("adamw", ema_decay=0.9), reader()
    optimizer = build_optimizer(model, config)
    train(model, optimizer, config, range(2))
    state = optimizer_tensors(model, optimizer)
    damage(state)
    with pytest.raises(CheckpointError, match=message):
        load_optimizer_tensors(model, optimizer, state)


def test_the_average_follows_by_its_formula_and_gives_the_weights_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    average = WeightAverage(model, 0.5)
    expected = 0.0
    for update in range(20):
        with torch.no_grad():
            model.weight.fill_(float(update))
        average.update()
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
    with average.applied():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 19


def test_the_weights_come_back_even_if_the_block_fails() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.5)
    own = model.weight.detach().clone() + 1
    with torch.no_grad():
        model.weight.copy_(own)
    with pytest.raises(ZeroDivisionError), average.applied():
        assert not torch.equal(model.weight, own)
        1 / 0  # noqa: B018
    assert torch.equal(model.weight, own)
