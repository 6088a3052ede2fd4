"""What a step sees: rows and widths, each a pure function of the seed and the step.

So a resumed run needs no generator's state, and two recipes with one seed see the same batches.

Shapes: P row positions of a pool, L labelled rows of a batch, R all its rows.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.errors import ConfigError
from elastier_trainer.submodel import Inputs, Ladder, Submodel, widths_of

SPLIT, LABELLED, UNLABELLED, WIDTHS = range(4)
"""Independent streams of random numbers of one seed."""

Middle = Literal["none", "uniform", "per_block"]
"""How the intermediate sub-model of a step is drawn."""


def generator(seed: int, *stream: int) -> torch.Generator:
    """A generator for one stream of a seed; different streams are independent."""
    word = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(word >> np.uint64(1)))


def sample_middle(ladder: Ladder, how: Middle, *, seed: int, step: int) -> Submodel | None:
    """The intermediate sub-model of a step (sandwich rule).

    `uniform` draws one of the ladder without its ends; `per_block` draws every block's width by itself from the
    ladder's widths of that block, on the kept blocks and model dimension of one of the ladder. None for `none`,
    and where the ladder has nothing to draw from.
    """
    chance = generator(seed, WIDTHS, step)
    if how == "none":
        return None
    pool = ladder.submodels[1:-1] if how == "uniform" else ladder.submodels
    if not pool or len(ladder.submodels) == 1:
        return None
    frame = pool[_draw(len(pool), chance)]
    if how == "uniform":
        return frame
    choices = [widths_of(ladder.submodels, block) for block in frame.layers]
    widths = tuple(found[_draw(len(found), chance)] for found in choices)
    return Submodel(widths=widths, layers=frame.layers, model_dim=frame.model_dim)


def _draw(count: int, chance: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=chance))


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

    inputs: Inputs
    labels_L: Tensor
    teacher_RC: Tensor | None
    row_ids_R: Tensor


class Batches:
    """The batches of a run, by step; of several replicas each takes every n-th row of them."""

    def __init__(
        self,
        dataset: Dataset,
        teacher_RC: Tensor | None,
        *,
        labelled: ShuffledRows | None,
        unlabelled: ShuffledRows | None,
        replica: int = 0,
        replicas: int = 1,
    ) -> None:
        self._dataset = dataset
        self._teacher_RC = teacher_RC
        self._labelled = labelled
        self._unlabelled = unlabelled
        self._replica = replica
        self._replicas = replicas

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        labelled, unlabelled = (self._part(rows, step) for rows in (self._labelled, self._unlabelled))
        rows = torch.cat([labelled, unlabelled])
        return Batch(
            inputs=self._dataset.rows(rows),
            labels_L=self._dataset.labels_R[labelled],
            teacher_RC=None if self._teacher_RC is None else self._teacher_RC[rows],
            row_ids_R=self._dataset.row_ids_R[rows],
        )

    def _part(self, rows: ShuffledRows | None, step: int) -> Tensor:
        if rows is None:
            return torch.zeros(0, dtype=torch.int64)
        return rows.at(step)[self._replica :: self._replicas]


def make_batches(
    dataset: Dataset,
    teacher_RC: Tensor | None,
    *,
    labelled_rows: int,
    unlabelled_rows: int,
    labelled_fraction: float,
    seed: int,
    replica: int = 0,
    replicas: int = 1,
) -> Batches:
    """Divide the training rows into labelled and unlabelled ones by the seed, and stream both.

    Args:
        dataset: All rows.
        teacher_RC: Teacher's logits of every row of the data set, or None.
        labelled_rows: Rows with labels in a batch.
        unlabelled_rows: Rows without labels in a batch.
        labelled_fraction: Share of the training rows with a label whose label is used.
        seed: Of the division and of the order.
        replica: Which of the replicas this process is.
        replicas: How many share every batch.

    Raises:
        ConfigError: A batch asks for rows of a kind that there is none of, or that replicas cannot share evenly.
    """
    for key, rows in (("labelled_rows", labelled_rows), ("unlabelled_rows", unlabelled_rows)):
        if rows % replicas:
            raise ConfigError(f"{key}: expected a multiple of {replicas} processes, got {rows}")
    labelled, unlabelled = _divide(dataset, labelled_fraction, seed)
    if labelled_rows and not len(labelled):
        raise ConfigError(
            f"labelled_fraction: expected at least one of {len(dataset.splits['train'])} training rows "
            f"with a label, got {labelled_fraction}"
        )
    if unlabelled_rows and not len(unlabelled):
        raise ConfigError(
            f"unlabelled_rows: expected 0, since labelled_fraction {labelled_fraction} leaves no row "
            f"without a label, got {unlabelled_rows}"
        )
    return Batches(
        dataset,
        teacher_RC,
        labelled=_stream(labelled, labelled_rows, seed, LABELLED),
        unlabelled=_stream(unlabelled, unlabelled_rows, seed, UNLABELLED),
        replica=replica,
        replicas=replicas,
    )


def _divide(dataset: Dataset, labelled_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of the training rows whose label is used, and of all others."""
    train = dataset.splits["train"]
    shuffled = train[torch.randperm(len(train), generator=generator(seed, SPLIT))]
    labelled = dataset.labelled(shuffled)
    used = labelled[: round(labelled_fraction * len(labelled))]
    return used, shuffled[~torch.isin(shuffled, used)]


def _stream(pool_P: Tensor, rows: int, seed: int, stream: int) -> ShuffledRows | None:
    return ShuffledRows(pool_P, rows=rows, seed=seed, stream=stream) if rows else None
