import copy

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from elastier_trainer.errors import ConfigError
from elastier_trainer.nest import NestSpec, nest, sort_by_importance
from elastier_trainer.submodel import Submodel

Images = tuple[Tensor, Tensor]
SPEC = NestSpec(pairs=[("net.0", "net.2"), ("net.2", "net.3", "net.5")])


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.net(pixels)
        return logits


@pytest.fixture(scope="module")
def images() -> Images:
    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(pixels).float()[order] / 16, torch.tensor(labels)[order]


def pretrain(images: Images, seed: int) -> Digits:
    x, y = (values[:900] for values in images)
    torch.manual_seed(seed)
    model = Digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        rows = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(x[rows]), y[rows]))
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def three_pretrained(images: Images) -> list[Digits]:
    return [pretrain(images, seed) for seed in range(3)]


@pytest.fixture
def pretrained(three_pretrained: list[Digits]) -> Digits:
    return three_pretrained[0]


def accuracy(model: nn.Module, x: Tensor, y: Tensor, share: float) -> float:
    nested = nest(model, SPEC)
    part = Submodel(widths=(int(256 * share), int(128 * share)), layers=(0, 1), model_dim=0)
    with torch.no_grad():
        return float((nested.logits({"pixels": x}, [part])[0].argmax(dim=1) == y).float().mean())


@pytest.mark.parametrize(("share", "margin"), [(0.5, 0.1), (0.25, 0.2)])
def test_a_sorted_prefix_beats_the_unsorted_prefix(
    three_pretrained: list[Digits], images: Images, share: float, margin: float
) -> None:
    x_test, y_test = (values[900:] for values in images)
    gains = []
    for model in copy.deepcopy(three_pretrained):
        before = accuracy(model, x_test, y_test, share)
        sort_by_importance(model, SPEC, {"pixels": images[0][:900]})
        gains.append(accuracy(model, x_test, y_test, share) - before)
    assert min(gains) > 0
    assert sum(gains) / len(gains) > margin, f"gains in accuracy: {gains}"


def test_sorting_leaves_the_outputs_as_they_were(pretrained: Digits, images: Images) -> None:
    model = copy.deepcopy(pretrained)
    weight = model.get_parameter("net.0.weight")
    sort_by_importance(model, SPEC, {"pixels": images[0][:200]})
    torch.testing.assert_close(model(images[0]), pretrained(images[0]), rtol=0, atol=1e-5)
    assert model.net[0].weight is weight, "parameters stay the same objects"
    assert not torch.equal(weight, pretrained.get_parameter("net.0.weight"))


def test_a_unit_counts_by_its_activation_times_the_weights_that_consume_it() -> None:
    model = nn.ModuleDict({"up": nn.Linear(1, 4, bias=False), "down": nn.Linear(4, 1)})
    with torch.no_grad():
        model["up"].weight.copy_(torch.tensor([[1.0], [5.0], [0.1], [-3.0]]))  # type: ignore[operator]
        model["down"].weight.copy_(torch.tensor([[1.0, 0.0, 100.0, 1.0]]))  # type: ignore[operator]
    model.forward = lambda x: model["down"](model["up"](x))
    sort_by_importance(model, NestSpec(pairs=[("up", "down")]), {"x": torch.ones(3, 1)})
    assert model["up"].weight.flatten().tolist() == pytest.approx([0.1, -3.0, 1.0, 5.0])  # type: ignore[operator]


def test_sorting_puts_modes_back_and_moves_no_statistics(pretrained: Digits, images: Images) -> None:
    model = copy.deepcopy(pretrained).train()
    sort_by_importance(model, SPEC, {"pixels": images[0][:200]})
    assert all(layer.training for layer in model.modules())
    found, before = model.net[3].running_mean, pretrained.net[3].running_mean
    assert isinstance(found, Tensor)
    assert isinstance(before, Tensor)
    assert torch.equal(found.sort().values, before.sort().values)


def test_a_pair_that_never_runs_is_refused(pretrained: Digits) -> None:
    class Unused(Digits):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels

    with pytest.raises(ConfigError, match=r"but net\.2 did not"):
        sort_by_importance(Unused(), SPEC, {"pixels": torch.zeros(2, 64)})


def test_units_used_outside_of_their_pair_are_not_sorted() -> None:
    class Leaky(Digits):
        def forward(self, pixels: Tensor) -> Tensor:
            logits: Tensor = self.net(pixels) + self.net[0](pixels)[:, :10]
            return logits

    torch.manual_seed(0)
    model = Leaky()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match="used outside of their pair"):
        sort_by_importance(model, SPEC, {"pixels": torch.rand(20, 64)})
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
