"""The ranker along its three nesting axes: every student is a view on the TA's parameters."""

import pytest
import torch
from torch import Tensor

from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import NestedFeedForward
from elastier_trainer.submodel import Submodel, evenly_spaced, parameter_count, student_name

FEATURES = FeatureSchema(
    categorical=(
        CategoricalColumn(name="carrier", values=("AA", "B6")),
        CategoricalColumn(name="origin", values=("EWR", "JFK", "LGA")),
    ),
    numeric=(NumericColumn(name="distance", mean=1000.0, std=500.0),),
)
FULL = Submodel(widths=(16, 16, 16), layers=(0, 1, 2), model_dim=8)
NARROW = Submodel(widths=(2, 5, 3), layers=(0, 1, 2), model_dim=8)
SHALLOW = Submodel(widths=(16, 16), layers=(0, 2), model_dim=8)
THIN = Submodel(widths=(16, 16, 16), layers=(0, 1, 2), model_dim=4)
SMALL = Submodel(widths=(2, 5), layers=(0, 2), model_dim=4)
STUDENTS = (SMALL, THIN, SHALLOW, NARROW, FULL)
AXES = pytest.mark.parametrize(
    "student", [NARROW, SHALLOW, THIN, SMALL], ids=["width", "depth", "dimension", "all"]
)


@pytest.fixture(params=[False, True], ids=["shared norms", "own norms"])
def ranker(request: pytest.FixtureRequest) -> Ranker:
    torch.manual_seed(0)
    students = STUDENTS if request.param else ()
    model = Ranker(FEATURES, model_dim=8, hidden=(16, 16, 16), outputs=2, students=students)
    with torch.no_grad():  # fresh norms and biases are all alike: a mix-up would not show
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return {
        "categorical": torch.tensor([[0, 3], [2, 1], [1, 0]]),
        "numeric": torch.tensor([[1000.0], [1500.0], [500.0]]),
    }


def answer(model: Ranker, inputs: dict[str, Tensor], submodel: Submodel) -> Tensor:
    return model.logits(inputs, [submodel])[0]


def test_a_narrow_block_is_a_block_of_the_first_hidden_units_and_dimensions() -> None:
    torch.manual_seed(0)
    wide, x_BD = NestedFeedForward(8, 16), torch.randn(5, 8)
    narrow = NestedFeedForward(6, 4)
    with torch.no_grad():
        narrow.up_HD.copy_(wide.up_HD[:4, :6])
        narrow.up_bias_H.copy_(wide.up_bias_H[:4])
        narrow.down_HD.copy_(wide.down_HD[:4, :6])
        narrow.down_bias_D.copy_(wide.down_bias_D[:6])
    torch.testing.assert_close(wide(x_BD[:, :6], 4), narrow(x_BD[:, :6], 4))


@AXES
def test_a_student_by_itself_answers_as_inside_the_ta(
    ranker: Ranker, inputs: dict[str, Tensor], student: Submodel
) -> None:
    alone = ranker.extract(student)
    torch.testing.assert_close(alone(**inputs), answer(ranker, inputs, student))
    assert sum(p.numel() for p in alone.parameters()) == parameter_count(ranker, student)
    assert alone.flops_per_row(alone.full) == ranker.flops_per_row(student)


@AXES
def test_slices_name_what_the_student_by_itself_is_made_of(ranker: Ranker, student: Submodel) -> None:
    sources, alone = dict(ranker.named_parameters()), ranker.extract(student)
    for (_, parameter), part in zip(alone.named_parameters(), ranker.slices(student).values(), strict=True):
        prefix = sources[part.source][tuple(slice(kept) for kept in part.shape)]
        assert torch.equal(parameter, prefix)
    of_ta = [name for name, _ in ranker.extract(FULL).named_parameters()]
    assert set(ranker.slices(student)) <= set(of_ta)
    assert list(ranker.slices(FULL)) == of_ta


@AXES
def test_a_step_on_a_student_changes_the_ta_and_the_other_way_round(
    ranker: Ranker, inputs: dict[str, Tensor], student: Submodel
) -> None:
    count = sum(parameter.numel() for parameter in ranker.parameters())
    optimizer = torch.optim.SGD(ranker.parameters(), lr=0.1)
    for stepped, watched in ((student, FULL), (FULL, student)):
        before = answer(ranker, inputs, watched).detach()
        optimizer.zero_grad()
        answer(ranker, inputs, stepped).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert not torch.equal(before, answer(ranker, inputs, watched))
    assert sum(parameter.numel() for parameter in ranker.parameters()) == count


@AXES
def test_a_students_gradient_is_that_of_the_student_by_itself_and_zero_elsewhere(
    ranker: Ranker, inputs: dict[str, Tensor], student: Submodel
) -> None:
    answer(ranker, inputs, student).square().sum().backward()  # type: ignore[no-untyped-call]
    alone = ranker.extract(student)
    alone(**inputs).square().sum().backward()
    parts = ranker.slices(student)
    for (_, parameter), part in zip(alone.named_parameters(), parts.values(), strict=True):
        gradient = ranker.get_parameter(part.source).grad
        assert gradient is not None
        assert parameter.grad is not None
        kept = tuple(slice(size) for size in part.shape)
        torch.testing.assert_close(gradient[kept], parameter.grad)
        rest = gradient.clone()
        rest[kept] = 0
        assert not rest.any()
    used = {part.source for part in parts.values()}
    assert all(p.grad is None or not p.grad.any() for n, p in ranker.named_parameters() if n not in used)


def test_several_sub_models_in_one_pass_answer_as_one_by_one(
    ranker: Ranker, inputs: dict[str, Tensor]
) -> None:
    for submodel, together in zip(STUDENTS, ranker.logits(inputs, STUDENTS), strict=True):
        torch.testing.assert_close(together, answer(ranker, inputs, submodel))
    assert torch.equal(ranker(**inputs), answer(ranker, inputs, FULL))


def test_own_norms_cost_a_few_hundred_numbers_and_a_mix_takes_those_of_the_nearest() -> None:
    widths = [Submodel(widths=(w, w), layers=(0, 1), model_dim=8) for w in (2, 8, 32)]
    shared = Ranker(FEATURES, model_dim=8, hidden=(32, 32))
    own = Ranker(FEATURES, model_dim=8, hidden=(32, 32), students=widths)
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (shared, own)]
    per_student = 2 * (2 * 8) + 2 * 8 + 8 + 1
    assert counts[1] - counts[0] == 2 * per_student
    mix = own.slices(Submodel(widths=(3, 20), layers=(0, 1), model_dim=8))
    assert mix["norms.0.0.weight"].source == "norms.0.0.weight"
    assert mix["norms.1.0.weight"].source == "norms.1.2.weight"  # 20 is nearer to 32 than to 8
    assert mix["heads.0.bias"].source == "heads.1.bias"


def test_each_row_is_scored_by_itself(ranker: Ranker, inputs: dict[str, Tensor]) -> None:
    together = answer(ranker, inputs, NARROW)
    alone = [answer(ranker, {k: v[row : row + 1] for k, v in inputs.items()}, NARROW) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_every_column_has_its_own_unknown_value(ranker: Ranker) -> None:
    x_BD = ranker.embed(
        {"categorical": torch.tensor([[0, 1], [1, 0]]), "numeric": torch.tensor([[1000.0], [1000.0]])}
    )
    rows = ranker.embedding.weight
    torch.testing.assert_close(x_BD[0] - ranker.numeric.bias, rows[0] + rows[4])
    torch.testing.assert_close(x_BD[1] - ranker.numeric.bias, rows[1] + rows[3])


def test_operations_of_a_row_counted_by_hand(ranker: Ranker) -> None:
    numeric, blocks, heads, embeddings = 2 * 1 * 4, 2 * 2 * 4 * (2 + 5), 2 * 4 * 2, 2 * 4
    assert ranker.flops_per_row(SMALL) == numeric + blocks + heads + embeddings


@pytest.mark.parametrize("kept", ["categorical", "numeric"])
def test_columns_of_one_kind_are_enough(kept: str, inputs: dict[str, Tensor]) -> None:
    features = FeatureSchema(**{kept: getattr(FEATURES, kept)})
    logits = Ranker(features, model_dim=8, hidden=(4,))(**{kept: inputs[kept]})
    assert logits.shape == (3, 1)


@pytest.mark.parametrize(
    ("blocks", "kept", "layers"),
    [(4, 1, (0,)), (4, 2, (0, 3)), (5, 3, (0, 2, 4)), (6, 4, (0, 2, 3, 5)), (3, 3, (0, 1, 2))],
)
def test_evenly_spaced_layers_span_all_blocks(blocks: int, kept: int, layers: tuple[int, ...]) -> None:
    assert evenly_spaced(blocks, kept) == layers


def test_a_student_is_called_by_what_it_keeps() -> None:
    names = {student_name(student, FULL) for student in STUDENTS}
    assert names == {"w16", "w2-5-3", "w16-b0.2", "w16-d4", "w2-5-b0.2-d4"}
