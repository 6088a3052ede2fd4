import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elastier_trainer.errors import ConfigError
from elastier_trainer.nest import NestedModule, NestSpec, nest
from elastier_trainer.submodel import NestedModel, Submodel, parameter_count

FFN = ("blocks.*.up", "blocks.*.down")


class Block(nn.Module):
    def __init__(self, model_dim: int, hidden: int, *, bias: bool = True, residual: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(model_dim)
        self.up = nn.Linear(model_dim, hidden, bias=bias)
        self.dropout = nn.Dropout(0.3)
        self.down = nn.Linear(hidden, model_dim, bias=bias)
        self.residual = residual

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        added: Tensor = scale * self.down(self.dropout(self.up(self.norm(x)).relu()))
        return x + added if self.residual else added


class Stack(nn.Module):
    def __init__(
        self, hidden: tuple[int, ...] = (12, 12, 12), *, bias: bool = True, inside: bool = True
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 6)
        self.blocks = nn.ModuleList(Block(6, units, bias=bias, residual=inside) for units in hidden)
        self.head = nn.Linear(6, 2)
        self.inside = inside

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        x = self.embed(a) + b
        for block in self.blocks:
            x = block(x, scale=0.5) if self.inside else x + block(x)
        logits: Tensor = self.head(x)
        return logits


class Plain(nn.Module):
    """An MLP whose middle layer ends one pair and begins the next; a norm and a PReLU per hidden unit."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(6, 16),
            nn.BatchNorm1d(16),
            nn.PReLU(16),
            nn.Linear(16, 10),
            nn.PReLU(),
            nn.Linear(10, 1),
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        outputs: Tensor = self.net(torch.cat((a, a), dim=1) + b)
        return outputs.squeeze(1)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(6, 9), nn.Linear(6, 9), nn.Linear(9, 2, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        outputs: Tensor = self.down(nn.functional.silu(self.gate(b)) * self.up(b)) + a[:, :2]
        return outputs


def submodel(*widths: int, layers: tuple[int, ...] | None = None) -> Submodel:
    return Submodel(
        widths=widths, layers=tuple(range(len(widths))) if layers is None else layers, model_dim=0
    )


def rows(count: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"a": torch.randn(count, 3, generator=generator), "b": torch.randn(count, 6, generator=generator)}


def stack(spec: NestSpec | None = None, **options: Any) -> NestedModule:
    torch.manual_seed(0)
    return nest(Stack(**options), spec or NestSpec(pairs=[FFN], depth="blocks"), rows())


def plain() -> NestedModule:
    torch.manual_seed(0)
    spec = NestSpec(pairs=[("net.0", "net.1", "net.2", "net.3"), ("net.3", "net.5")])
    return nest(Plain(), spec, rows())


def gated() -> NestedModule:
    torch.manual_seed(0)
    return nest(Gated(), NestSpec(pairs=[("gate", "up", "down")]), rows())


CASES: list[Any] = [
    pytest.param(stack, submodel(5, 3, 12), id="residual blocks"),
    pytest.param(stack, submodel(5, 4, layers=(0, 2)), id="a block left out"),
    pytest.param(lambda: stack(bias=False), submodel(5, 3, 1), id="no biases"),
    pytest.param(
        lambda: stack(NestSpec(pairs=[FFN], depth="blocks", residual="outside"), inside=False),
        submodel(5, layers=(1,)),
        id="residual outside of the block",
    ),
    pytest.param(lambda: stack(hidden=(12, 8, 4)), submodel(12, 8, 4), id="the TA, of uneven blocks"),
    pytest.param(plain, submodel(4, 3), id="a plain MLP with norm and PReLU"),
    pytest.param(gated, submodel(4), id="a gated unit"),
]
Make = Callable[[], NestedModule]


def outputs_of(module: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    outputs: Tensor = module(**inputs)
    return outputs if outputs.dim() == 2 else outputs[:, None]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("make", "part"), CASES)
def test_a_submodel_computes_what_it_computes_by_itself(make: Make, part: Submodel, training: bool) -> None:
    model = make().train(training)
    alone = model.extract(part)
    torch.manual_seed(3)  # the same dropout for both
    inside = model.logits(rows(), [part])[0]
    torch.manual_seed(3)
    torch.testing.assert_close(inside, outputs_of(alone, rows()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("make", "part"), CASES)
def test_gradients_are_those_of_the_submodel_by_itself(make: Make, part: Submodel, training: bool) -> None:
    model = make().train(training)
    alone = model.extract(part)
    runs: list[Callable[[], Tensor]] = [
        lambda: model.logits(rows(), [part])[0],
        lambda: outputs_of(alone, rows()),
    ]
    for run in runs:
        torch.manual_seed(3)
        torch.autograd.backward(run().square().sum())
    parameters = dict(model.named_parameters())
    used = model.slices(part)
    for name, own in alone.named_parameters():
        whole = parameters[used[name].source].grad
        assert whole is not None
        prefix = whole[tuple(slice(size) for size in used[name].shape)]
        torch.testing.assert_close(prefix, own.grad, rtol=1e-5, atol=1e-6)
        assert whole.count_nonzero() == prefix.count_nonzero(), f"{name} has a gradient outside of its slice"
    idle = parameters.keys() - {piece.source for piece in used.values()}
    assert all(parameters[name].grad is None for name in idle)


@pytest.mark.parametrize(("make", "part"), CASES)
def test_the_slices_are_the_parameters_of_the_submodel_by_itself(make: Make, part: Submodel) -> None:
    model = make()
    alone = dict(model.extract(part).named_parameters())
    whole = model.state_dict()
    used = model.slices(part)
    assert used.keys() == alone.keys()
    for name, piece in used.items():
        assert piece.shape == tuple(alone[name].shape)
        assert torch.equal(whole[piece.source][tuple(slice(size) for size in piece.shape)], alone[name])
    assert parameter_count(model, part) == sum(parameter.numel() for parameter in alone.values())


@pytest.mark.parametrize(("make", "part"), CASES)
def test_layers_of_an_extracted_submodel_say_their_own_sizes(make: Make, part: Submodel) -> None:
    for layer in make().extract(part).modules():
        match layer:
            case nn.Linear():
                assert tuple(layer.weight.shape) == (layer.out_features, layer.in_features)
            case nn.BatchNorm1d():
                assert layer.running_mean is not None
                assert len(layer.weight) == len(layer.running_mean) == layer.num_features
            case nn.PReLU():
                assert len(layer.weight) == layer.num_parameters


def test_a_nested_module_is_what_training_asks_for() -> None:
    model: NestedModel = stack()
    assert model.full == submodel(12, 12, 12)
    assert isinstance(model, nn.Module)


def test_nesting_adds_no_parameter_and_changes_none() -> None:
    torch.manual_seed(0)
    module = Stack()
    before = copy.deepcopy(module.state_dict())
    model = nest(module, NestSpec(pairs=[FFN], depth="blocks"), rows())
    assert [id(p) for p in model.parameters()] == [id(p) for p in module.parameters()]
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_a_step_on_the_student_changes_the_ta() -> None:
    model = stack().eval()
    student, ta = submodel(2, 2, 2), model.full
    before = model.logits(rows(), [ta])[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.autograd.backward(model.logits(rows(), [student])[0].square().sum())
    optimizer.step()
    assert not torch.allclose(before, model.logits(rows(), [ta])[0])


def test_a_step_on_the_ta_changes_the_student() -> None:
    model = stack().eval()
    student, ta = submodel(2, 2, layers=(0, 2)), model.full
    before = model.logits(rows(), [student])[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.autograd.backward(model.logits(rows(), [ta])[0].square().sum())
    optimizer.step()
    assert not torch.allclose(before, model.logits(rows(), [student])[0])


def test_an_extracted_submodel_shares_nothing_with_the_ta() -> None:
    model = stack().eval()
    before = model.logits(rows(), [model.full])[0]
    with torch.no_grad():
        for parameter in model.extract(submodel(2, 2, 2)).parameters():
            parameter.zero_()
    assert torch.equal(before, model.logits(rows(), [model.full])[0])


def test_no_submodel_leaves_a_trace_on_the_module() -> None:
    model = stack().eval()
    alone = model.logits(rows(), [model.full])[0]
    parts = [submodel(1, 1, layers=(0, 1)), model.full, submodel(3, 3, 3)]
    assert torch.equal(model.logits(rows(), parts)[1], alone)
    assert torch.equal(model(**rows()), alone)
    assert model.module.get_parameter("blocks.0.up.weight").shape == (12, 6)


def test_a_left_out_block_hands_its_input_on() -> None:
    model = stack().eval()
    module = model.module
    assert isinstance(module, Stack)
    x = module.embed(rows()["a"]) + rows()["b"]
    by_hand = module.head(module.blocks[1](x, scale=0.5))
    torch.testing.assert_close(model.logits(rows(), [submodel(12, layers=(1,))])[0], by_hand)


def test_only_the_ta_moves_the_statistics_of_a_batch_norm() -> None:
    model = plain().train()
    before = copy.deepcopy(model.module.get_submodule("net.1").state_dict())
    model.logits(rows(), [submodel(4, 3)])
    assert all(
        torch.equal(before[key], now) for key, now in model.module.get_submodule("net.1").state_dict().items()
    )
    model.logits(rows(), [model.full])
    moved = model.module.get_submodule("net.1").state_dict()
    assert not torch.equal(before["running_mean"], moved["running_mean"])
    assert moved["num_batches_tracked"] == 1


def test_a_trained_student_has_no_answer_before_its_batch_norms_are_calibrated() -> None:
    model = plain().train()
    student = submodel(4, 3)
    model.logits(rows(), [student, model.full])
    model.eval()
    for ask in (lambda: model.logits(rows(), [student]), lambda: model.extract(student)):
        with pytest.raises(ConfigError, match=r"widths \(4, 3\) have no statistics of their own"):
            ask()
    model.logits(rows(), [model.full])


def test_calibration_measures_the_statistics_of_each_student_by_itself() -> None:
    model = plain().train()
    student, other = submodel(4, 3), submodel(8, 10)
    model.logits(rows(), [student, model.full])
    model.eval().calibrate([student, other, model.full], rows(100))
    alone = model.extract(student)
    hidden = alone.get_submodule("net.0")(torch.cat((rows(100)["a"],) * 2, dim=1) + rows(100)["b"])
    torch.testing.assert_close(alone.get_buffer("net.1.running_mean"), hidden.mean(dim=0))
    torch.testing.assert_close(alone.get_buffer("net.1.running_var"), hidden.var(dim=0))
    for part in (student, other, model.full):
        inside = model.logits(rows(), [part])[0]
        torch.testing.assert_close(inside, outputs_of(model.extract(part), rows()), rtol=0, atol=1e-6)
    assert model.module.get_submodule("net.1").num_batches_tracked == 1


def test_a_pretrained_prefix_goes_by_the_statistics_of_the_ta() -> None:
    model = plain().train()
    model.logits(rows(), [model.full])
    alone = model.eval().extract(submodel(4, 3))
    assert torch.equal(
        alone.get_buffer("net.1.running_mean"), model.module.get_buffer("net.1.running_mean")[:4]
    )


def test_several_submodels_train_through_one_batch_norm() -> None:
    model = plain().train()
    small, ta = model.logits(rows(), [submodel(4, 3), model.full])
    torch.autograd.backward(small.sum() + ta.sum())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_flops_are_two_per_multiply_add_of_the_kept_layers() -> None:
    model = stack()
    assert model.flops_per_row(model.full) == 2 * (3 * 6 + 3 * 2 * 6 * 12 + 6 * 2)
    assert model.flops_per_row(submodel(5, 4, layers=(0, 2))) == 2 * (3 * 6 + 2 * 6 * (5 + 4) + 6 * 2)
    assert plain().flops_per_row(submodel(4, 3)) == 2 * (6 * 4 + 4 * 3 + 3 * 1)


def test_a_ladder_names_its_students_by_width_and_ends_with_the_ta() -> None:
    model = stack()
    ladder = model.ladder(widths=(6, 2))
    assert ladder.names == ("w2", "w6", "w12")
    assert ladder.smallest == submodel(2, 2, 2)
    assert ladder.ta == model.full


def test_modes_survive_the_check_by_example() -> None:
    module = Stack()
    module.blocks[1].eval()
    before = [layer.training for layer in module.modules()]
    nest(module, NestSpec(pairs=[FFN], depth="blocks"), rows())
    assert [layer.training for layer in module.modules()] == before


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (submodel(13, 1, 1), "expected 1 to 12 hidden units in layer 0, got 13"),
        (submodel(1, 0, 1), "expected 1 to 12 hidden units in layer 1, got 0"),
        (submodel(1, 1, layers=(2, 0)), "expected ascending layers"),
        (submodel(1, layers=(3,)), "within 0..2"),
        (submodel(1, 1, layers=(0,)), "one width for each"),
        (submodel(), "expected ascending layers"),
        (Submodel(widths=(1, 1, 1), layers=(0, 1, 2), model_dim=4), "expected model_dim 0"),
    ],
)
def test_what_is_no_submodel_is_refused(part: Submodel, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stack().logits(rows(), [part])


def test_blocks_cannot_be_left_out_unless_the_spec_says_so() -> None:
    with pytest.raises(ConfigError, match="names no `depth`"):
        stack(NestSpec(pairs=[FFN])).uniform(4, layers=(0, 1))


def test_outputs_of_another_shape_are_refused() -> None:
    class Odd(Gated):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return super().forward(a, b)[None]

    model = nest(Odd(), NestSpec(pairs=[("gate", "up", "down")]))
    with pytest.raises(ConfigError, match=r"\[rows, outputs\] or \[rows\], got shape \(1, 7, 2\)"):
        model.logits(rows(), [model.full])
