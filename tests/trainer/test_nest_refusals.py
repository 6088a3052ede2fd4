import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from elastier_trainer.errors import ConfigError
from elastier_trainer.nest import NestSpec, nest


class Mlp(nn.Module):
    """Whatever the layers are, `forward` runs them one after another."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layers(x)
        return outputs


X = {"x": torch.randn(5, 4, generator=torch.Generator().manual_seed(0))}
PAIR = ("layers.0", "layers.2")


def mlp(between: nn.Module, *more: nn.Module) -> Mlp:
    return Mlp(nn.Linear(4, 8), between, nn.Linear(8, 4), *more)


def refused(module: nn.Module, *pairs: tuple[str, ...], depth: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        nest(module, NestSpec(pairs=pairs, depth=depth), X)
    return str(caught.value)


def test_a_pattern_that_names_nothing_is_told_the_layers_there_are() -> None:
    said = refused(mlp(nn.ReLU()), ("blocks.*.fc1", "blocks.*.fc2"))
    assert said == "no layer is named 'blocks.*.fc1'; the nn.Linear layers are: layers.0, layers.2"


def test_a_star_stands_for_one_part_of_a_name() -> None:
    nested = Mlp(mlp(nn.ReLU()))
    assert "no layer is named 'layers.*.0'" in refused(nested, ("layers.*.0", "layers.*.2"))
    assert nest(nested, NestSpec(pairs=[("layers.*.layers.0", "layers.*.layers.2")]), X).full.widths == (8,)


def test_patterns_that_do_not_match_alike_are_refused() -> None:
    stack = Mlp(mlp(nn.ReLU()), Mlp(nn.Linear(4, 4)))
    said = refused(stack, ("layers.*.layers.0", "layers.*.layers.2"))
    assert "must match as 'layers.*.layers.0' does" in said
    assert "['layers.0.layers.2'] beside ['layers.0.layers.0', 'layers.1.layers.0']" in said


def test_no_pairs_are_refused() -> None:
    assert "at least one pair" in refused(mlp(nn.ReLU()))


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("layers.0",), "at least two layers"),
        (("layers.0", "layers.0"), "two of them"),
        (("layers.1", "layers.2"), r"layers.1 (ReLU)"),
        (("layers.0", "layers.1", "layers.2"), "layers without parameters need no name"),
    ],
)
def test_a_pair_begins_and_ends_with_a_linear_layer(pair: tuple[str, ...], said: str) -> None:
    assert said in refused(mlp(nn.ReLU()), pair)


def test_unequal_hidden_sizes_are_refused() -> None:
    said = refused(Mlp(nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 2)), PAIR)
    assert said == "expected layers.2 to take the 8 hidden units of layers.0, got 4 inputs"


def test_a_layer_between_with_another_size_is_refused() -> None:
    said = refused(mlp(nn.BatchNorm1d(9)), ("layers.0", "layers.1", "layers.2"))
    assert said == "expected layers.1 to have the 8 hidden units of layers.0, got 9"


def test_a_layer_norm_over_hidden_units_is_refused_with_the_reason() -> None:
    said = refused(mlp(nn.LayerNorm(8)), ("layers.0", "layers.1", "layers.2"))
    assert "it mixes all of them" in said
    assert "put it before layers.0" in said


@pytest.mark.parametrize("between", [nn.LayerNorm(8), nn.BatchNorm1d(8)])
def test_a_layer_between_that_was_not_named_is_found_by_example(between: nn.Module) -> None:
    said = refused(mlp(between), PAIR)
    assert "layers.0 → layers.2 does not work with 4 of its 8 hidden units" in said
    assert "is a layer between missing in the pair?" in said


def test_a_layer_that_mixes_hidden_units_is_found_by_example() -> None:
    assert "something between the layers mixes them" in refused(mlp(nn.Softmax(dim=1)), PAIR)


@pytest.mark.parametrize("use", ["mean", "concatenated"])
def test_hidden_units_used_outside_of_the_pair_are_found_by_example(use: str) -> None:
    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down, self.head = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.up(x).relu()
            if use == "mean":
                averaged: Tensor = self.down(hidden) + hidden.mean(dim=1, keepdim=True)
                return averaged
            logits: Tensor = self.head(torch.cat((hidden, self.down(hidden)), dim=1))
            return logits

    said = refused(Leaky(), ("up", "down"))
    assert "used elsewhere too" in said or "Are they used elsewhere too" in said


def test_a_weight_shared_with_another_layer_is_refused() -> None:
    module = mlp(nn.ReLU(), nn.Linear(4, 8))
    module.layers[3].weight = module.layers[0].weight
    said = refused(module, PAIR)
    assert said == "layers.0.weight and layers.3.weight are one shared weight, which cannot nest"


def test_a_layer_used_under_two_names_is_refused() -> None:
    up, down = nn.Linear(4, 8), nn.Linear(8, 4)
    said = refused(Mlp(Mlp(up, down), Mlp(up, down)), ("layers.*.layers.0", "layers.*.layers.1"))
    assert "layers.0.layers.0.weight and layers.1.layers.0.weight are one shared weight" in said


def test_a_layer_in_two_pairs_is_refused() -> None:
    module = mlp(nn.ReLU(), nn.Linear(8, 4))
    assert "layers.0 (makes hidden units) is in more than one pair" in refused(
        module, PAIR, ("layers.0", "layers.3")
    )


def test_a_computed_weight_is_refused() -> None:
    module = Mlp(weight_norm(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 4))
    assert "the weight of layers.0 is computed from others" in refused(module, PAIR)


class Deep(nn.Module):
    """Two blocks; `listed` hides them from the container."""

    def __init__(self, *blocks: nn.Module, listed: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.hidden_list = list(blocks) if listed else None
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.hidden_list or self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)
        return logits


DEEP = ("blocks.*.layers.0", "blocks.*.layers.2")


@pytest.mark.parametrize(
    ("depth", "got"), [("bloks", "no such module"), ("head", "Linear"), ("", "no such module")]
)
def test_depth_must_name_a_list_of_blocks(depth: str, got: str) -> None:
    said = refused(Deep(mlp(nn.ReLU())), DEEP, depth=depth)
    assert said == f"expected depth={depth!r} to name an nn.ModuleList or nn.Sequential, got {got}"


def test_a_block_without_a_pair_is_refused() -> None:
    said = refused(Deep(mlp(nn.ReLU()), nn.Linear(4, 4)), DEEP, depth="blocks")
    assert said == "expected one pair in block blocks.1, got 0"


def test_a_pair_outside_of_the_blocks_is_refused() -> None:
    module = Mlp(nn.Linear(4, 4), Deep(mlp(nn.ReLU())), nn.Linear(2, 4))
    pairs = (("layers.1.blocks.*.layers.0", "layers.1.blocks.*.layers.2"), ("layers.1.head", "layers.2"))
    assert "layers.1.head → layers.2 is not within one block" in refused(
        module, *pairs, depth="layers.1.blocks"
    )


def test_a_block_that_changes_the_shape_is_refused() -> None:
    narrowing = Mlp(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    widening = Mlp(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))
    said = refused(Deep(narrowing, widening), DEEP, depth="blocks")
    assert "expected block blocks.0 to take a tensor as its first argument and to keep its shape" in said
    assert "torch.Size([5, 4]) → torch.Size([5, 2])" in said


def test_a_block_that_runs_although_left_out_is_found_by_example() -> None:
    module = Deep(mlp(nn.ReLU()), mlp(nn.ReLU()), listed=True)
    assert "does not reach them by 'blocks'" in refused(module, DEEP, depth="blocks")
