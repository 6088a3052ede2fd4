import pytest
import torch

from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import NestedFeedForward

FEATURES = FeatureSchema(
    categorical=(
        CategoricalColumn(name="carrier", values=("AA", "B6")),
        CategoricalColumn(name="origin", values=("EWR", "JFK", "LGA")),
    ),
    numeric=(NumericColumn(name="distance", mean=1000.0, std=500.0),),
)


@pytest.fixture
def ranker() -> Ranker:
    torch.manual_seed(0)
    return Ranker(FEATURES, model_dim=8, hidden=(16, 16))


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return {
        "categorical": torch.tensor([[0, 3], [2, 1], [1, 0]]),
        "numeric": torch.tensor([[1000.0], [1500.0], [500.0]]),
    }


def test_a_narrow_block_is_a_block_of_the_first_hidden_units() -> None:
    torch.manual_seed(0)
    wide, x_BD = NestedFeedForward(8, 16), torch.randn(5, 8)
    narrow = NestedFeedForward(8, 4)
    with torch.no_grad():
        narrow.up_HD.copy_(wide.up_HD[:4])
        narrow.up_bias_H.copy_(wide.up_bias_H[:4])
        narrow.down_HD.copy_(wide.down_HD[:4])
        narrow.down_bias_D.copy_(wide.down_bias_D)
    torch.testing.assert_close(wide(x_BD, 4), narrow(x_BD, 4))


def test_the_student_is_a_view_on_the_tas_parameters(ranker: Ranker, inputs: dict[str, torch.Tensor]) -> None:
    ta_before = ranker(inputs, (16, 16)).detach()
    optimizer = torch.optim.SGD(ranker.parameters(), lr=0.1)
    ranker(inputs, (2, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(ta_before, ranker(inputs, (16, 16)))


def test_a_step_of_the_ta_changes_the_student(ranker: Ranker, inputs: dict[str, torch.Tensor]) -> None:
    student_before = ranker(inputs, (2, 2)).detach()
    optimizer = torch.optim.SGD(ranker.parameters(), lr=0.1)
    ranker(inputs, (16, 16)).sum().backward()
    optimizer.step()
    assert not torch.equal(student_before, ranker(inputs, (2, 2)))


def test_a_student_never_touches_units_beyond_its_width(
    ranker: Ranker, inputs: dict[str, torch.Tensor]
) -> None:
    widths = (2, 5)
    ranker(inputs, widths).sum().backward()
    for name, nested in ranker.nested_parameters().items():
        gradient = ranker.get_parameter(name).grad
        assert gradient is not None
        assert gradient[: widths[nested.block]].any()
        assert not gradient[widths[nested.block] :].any()


def test_each_row_is_scored_by_itself(ranker: Ranker, inputs: dict[str, torch.Tensor]) -> None:
    together = ranker(inputs, (4, 4))
    alone = torch.cat([ranker({k: v[row : row + 1] for k, v in inputs.items()}, (4, 4)) for row in range(3)])
    torch.testing.assert_close(together, alone)


def test_every_column_has_its_own_unknown_value(ranker: Ranker) -> None:
    x_BD = ranker.embed(
        {"categorical": torch.tensor([[0, 1], [1, 0]]), "numeric": torch.tensor([[1000.0], [1000.0]])}
    )
    rows = ranker.embedding.weight
    torch.testing.assert_close(x_BD[0] - ranker.numeric.bias, rows[0] + rows[4])
    torch.testing.assert_close(x_BD[1] - ranker.numeric.bias, rows[1] + rows[3])


def test_the_count_of_parameters_is_that_of_the_module_and_of_a_separate_student(ranker: Ranker) -> None:
    assert ranker.parameter_count((16, 16)) == sum(p.numel() for p in ranker.parameters())
    separate = Ranker(FEATURES, model_dim=8, hidden=(2, 5))
    assert ranker.parameter_count((2, 5)) == sum(p.numel() for p in separate.parameters())


def test_operations_of_a_row_counted_by_hand(ranker: Ranker) -> None:
    numeric, blocks, head, embeddings = 2 * 1 * 8, 2 * (2 * 8 * 2) + 2 * (2 * 8 * 5), 2 * 8, 2 * 8
    assert ranker.flops_per_row((2, 5)) == numeric + blocks + head + embeddings


@pytest.mark.parametrize("kept", ["categorical", "numeric"])
def test_columns_of_one_kind_are_enough(kept: str, inputs: dict[str, torch.Tensor]) -> None:
    features = FeatureSchema(**{kept: getattr(FEATURES, kept)})
    logits = Ranker(features, model_dim=8, hidden=(4,))({kept: inputs[kept]}, (4,))
    assert logits.shape == (3, 1)
