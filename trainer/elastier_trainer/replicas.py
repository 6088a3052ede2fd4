"""Several processes that train one model together, each on its part of every batch (`torchrun`).

Gradients are averaged by torch's DistributedDataParallel. Terms of the loss are means over rows and every
process has as many rows, so that a run of two processes takes the steps of a run of one.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from elastier_trainer.submodel import Inputs, NestedModel, Submodel

Forward = Callable[[Inputs, Sequence[Submodel]], list[Tensor]]
"""Inputs and sub-models → outputs [B, C] of each."""


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """This process among those that train one model."""

    index: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates and writes."""
        return self.index == 0

    def forward(self, model: NestedModel) -> Forward:
        """The model's `logits`, whose gradients become those of all processes together."""
        if self.count == 1:
            return model.logits
        parallel: Forward = DistributedDataParallel(_Logits(model), find_unused_parameters=True)
        return parallel

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value's mean over all processes, which all give the same names."""
        if self.count == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(values, (total / self.count).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes at least."""
        return bool(self.mean({"flag": float(flag)})["flag"])

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def from_leader(self, values: Callable[[], Sequence[float]], count: int) -> list[float]:
        """What the leader computes, `count` numbers, in every process."""
        if self.count == 1:
            return list(values())
        shared = torch.zeros(count, dtype=torch.float64)
        if self.leads:
            shared = torch.tensor(values(), dtype=torch.float64)
        dist.broadcast(shared, src=0)
        found: list[float] = shared.tolist()
        return found


class _Logits(nn.Module):
    """The model's `logits` as a forward pass, which is what gradients are averaged behind."""

    def __init__(self, model: NestedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Inputs, submodels: Sequence[Submodel]) -> list[Tensor]:
        return self.model.logits(inputs, submodels)


@contextmanager
def joined() -> Iterator[Replicas]:
    """Join the processes that `torchrun` started, or be alone without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Replicas()
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Replicas(index=dist.get_rank(), count=dist.get_world_size())
    finally:
        dist.destroy_process_group()
