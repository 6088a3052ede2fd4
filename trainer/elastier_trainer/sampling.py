"""What a step sees: rows and widths, each a pure function of the seed and the step.

So a resumed run needs no generator's state, and two recipes with one seed see the same batches.

Shapes: P row positions of a pool, L labelled rows of a batch, R all its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elastier_trainer.config import TrainConfig
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.errors import ConfigError
from elastier_trainer.nesting import Widths

SPLIT, LABELLED, UNLABELLED, WIDTHS = range(4)
"""Independent streams of random numbers of one seed."""


def generator(seed: int, *stream: int) -> torch.Generator:
    """A generator for one stream of a seed; different streams are independent."""
    word = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def sample_middle(ladder: Sequence[Widths], *, seed: int, step: int) -> Widths | None:
    """The intermediate sub-model of a step (sandwich rule), uniform over the ladder without its ends.

    None for a ladder that has only ends. The widths are per block, so that a sampler which draws each
    block by itself takes the place of this one.
    """
    inner = ladder[1:-1]
    if not inner:
        return None
    return inner[int(torch.randint(len(inner), (), generator=generator(seed, WIDTHS, step)))]


class ShuffledRows:
    """An endless stream of row positions: every epoch is a fresh permutation of the pool."""

    def __init__(self, pool_P: Tensor, *, rows: int, seed: int, stream: int) -> None:
        self._pool_P = pool_P
        self._rows = rows
        self._seed = seed
        self._stream = stream
        self._orders: dict[int, Tensor] = {}

    def at(self, step: int) -> Tensor:
        """Row positions of the batch of a step."""
        pieces = []
        start, stop = step * self._rows, (step + 1) * self._rows
        while start < stop:
            epoch, offset = divmod(start, len(self._pool_P))
            pieces.append(self._epoch(epoch)[offset : offset + stop - start])
            start += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            order_P = torch.randperm(len(self._pool_P), generator=generator(self._seed, self._stream, epoch))
            self._orders = {epoch: self._pool_P[order_P]}
        return self._orders[epoch]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of one step; the first L carry labels."""

    inputs: dict[str, Tensor]
    labels_L: Tensor
    teacher_R: Tensor | None
    row_ids_R: Tensor


class Batches:
    """The batches of a run, by step."""

    def __init__(
        self,
        dataset: Dataset,
        teacher_R: Tensor | None,
        labelled: ShuffledRows,
        unlabelled: ShuffledRows | None,
    ) -> None:
        self._dataset = dataset
        self._teacher_R = teacher_R
        self._labelled = labelled
        self._unlabelled = unlabelled

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        labelled = rows = self._labelled.at(step)
        if self._unlabelled is not None:
            rows = torch.cat([labelled, self._unlabelled.at(step)])
        return Batch(
            inputs=self._dataset.rows(rows),
            labels_L=self._dataset.labels_R[labelled],
            teacher_R=None if self._teacher_R is None else self._teacher_R[rows],
            row_ids_R=self._dataset.row_ids_R[rows],
        )


def make_batches(config: TrainConfig, dataset: Dataset, teacher_R: Tensor | None) -> Batches:
    """Divide the training rows into labelled and unlabelled ones by the seed, and stream both.

    Args:
        config: Rows per batch, share of labelled rows, seed.
        dataset: All rows.
        teacher_R: Teacher's logit of every row of the data set, or None.

    Raises:
        ConfigError: A batch asks for rows of a kind that there is none of.
    """
    train = dataset.splits["train"]
    shuffled = train[torch.randperm(len(train), generator=generator(config.seed, SPLIT))]
    count = round(config.labelled_fraction * len(train))
    if count == 0:
        raise ConfigError(
            f"labelled_fraction: expected at least one of {len(train)} rows, got {config.labelled_fraction}"
        )
    if config.unlabelled_rows and count == len(train):
        raise ConfigError(
            f"unlabelled_rows: expected 0, since labelled_fraction {config.labelled_fraction} leaves no row "
            f"without a label, got {config.unlabelled_rows}"
        )
    pools = (
        (shuffled[:count], config.labelled_rows, LABELLED),
        (shuffled[count:], config.unlabelled_rows, UNLABELLED),
    )
    labelled, unlabelled = (
        ShuffledRows(pool, rows=rows, seed=config.seed, stream=stream) for pool, rows, stream in pools
    )
    return Batches(dataset, teacher_R, labelled, unlabelled if config.unlabelled_rows else None)
