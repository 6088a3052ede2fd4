"""The two halves of validation, and the fast AUC of resamples."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.errors import DataError
from elastier_trainer.frontier.halves import Half, split_halves
from elastier_trainer.frontier.resampled_auc import ResampledAuc
from elastier_trainer.metrics import auc
from elastier_trainer.submodel import Submodel
from elastier_trainer.task import BinaryTask, RegressionTask, Task
from support.mixes import uniform

ROWS = 60


class ScoreTimesWidth(nn.Module):
    """A model whose outputs are the inputs, with more noise the narrower it is."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def logits(self, inputs: dict[str, Tensor], submodels: list[Submodel]) -> list[Tensor]:
        return [
            inputs["x"][:, None] + inputs["noise"][:, None] / submodel.widths[0] for submodel in submodels
        ]


def dataset(labels_R: Tensor) -> Dataset:
    inputs = {"x": torch.linspace(-1, 1, ROWS), "noise": 20 * torch.sin(torch.arange(ROWS) * 1.7)}
    splits = {"validation": torch.arange(10, ROWS)}
    rows = lambda positions: {name: tensor[positions] for name, tensor in inputs.items()}  # noqa: E731
    return cast(Dataset, SimpleNamespace(labels_R=labels_R, splits=splits, rows=rows))


def half(task: Task, labels_R: Tensor) -> Half:
    return Half(cast(Any, ScoreTimesWidth()), dataset(labels_R), task, torch.arange(10, ROWS))


BINARY = (torch.arange(ROWS) % 3 > 0).float() * (torch.arange(ROWS) > 25).float()


def test_halves_share_no_row_and_hold_all_of_validation_drawn_by_the_seed() -> None:
    choosing, judging = split_halves(dataset(BINARY), 0)
    assert (len(choosing), len(judging)) == (25, 25)
    assert sorted([*choosing.tolist(), *judging.tolist()]) == list(range(10, ROWS))
    assert torch.equal(split_halves(dataset(BINARY), 0)[0], choosing)
    assert not torch.equal(split_halves(dataset(BINARY), 1)[0], choosing)
    assert choosing.float().mean() == pytest.approx(judging.float().mean(), abs=12)  # not one after the other


@pytest.mark.parametrize(
    ("task", "labels_R"),
    [(BinaryTask(), BINARY), (RegressionTask(), torch.linspace(-1, 2, ROWS) ** 2)],
)
def test_a_prepared_metric_is_the_tasks_own_on_all_rows_and_on_resamples(
    task: Task, labels_R: Tensor
) -> None:
    found, submodels = half(task, labels_R), [uniform(8), uniform(64)]
    found.prepare(submodels)
    rng = np.random.default_rng(0)
    wanted = found.evaluate(submodels)
    assert wanted[0] != wanted[1]
    everything = np.arange(found.rows)
    assert [found.measure(submodel, everything) for submodel in submodels] == pytest.approx(wanted)
    for submodel in submodels:
        rows_R = rng.integers(0, found.rows, found.rows)
        positions = torch.arange(10, ROWS)[rows_R]
        logits = ScoreTimesWidth().logits(dataset(labels_R).rows(positions), [submodel])[0]
        own = task.evaluate(logits, labels_R[positions]).value
        assert found.measure(submodel, rows_R) == pytest.approx(own)


rows = st.lists(st.tuples(st.integers(-2, 2), st.booleans(), st.integers(0, 3)), min_size=1, max_size=30)


@given(rows)
def test_the_auc_of_a_resample_is_that_of_its_rows_one_by_one(
    given_rows: list[tuple[int, bool, int]],
) -> None:
    scores, labels, times = (np.array(column) for column in zip(*given_rows, strict=True))
    positions = np.repeat(np.arange(len(scores)), times)
    resampled = ResampledAuc.from_scores(scores, labels)
    if len(set(labels[positions])) < 2:
        with pytest.raises(DataError, match="needs both classes"):
            resampled.of(positions)
    else:
        assert resampled.of(positions) == pytest.approx(auc(scores[positions], labels[positions]))
