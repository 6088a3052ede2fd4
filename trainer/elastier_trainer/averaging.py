"""The running average of the weights, which often serves better than the last weights do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from elastier_trainer.errors import CheckpointError


class WeightAverage:
    """Exponential moving average of a model's parameters.

    The decay of update t is at most (1 + t) / (10 + t), so that a short run does not drag its first weights along.

    Args:
        model: Whose trainable parameters are averaged, as they are now to begin with.
        decay: Share of the average that an update keeps, below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.averages.values()), list(self.parameters.values()), 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages for weights inside the block, and its own again after it."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._put(self.averages)
        try:
            yield
        finally:
            self._put(own)

    def load(self, averages: Mapping[str, Tensor], updates: int) -> None:
        """Go on from the averages and the number of updates of an earlier one.

        Raises:
            CheckpointError: The tensors belong to other parameters.
        """
        for name, average in self.averages.items():
            found = averages.get(name)
            if found is None or found.shape != average.shape:
                got = "none" if found is None else f"shape {tuple(found.shape)}"
                raise CheckpointError(
                    f"average of {name!r}: expected shape {tuple(average.shape)} in the checkpoint, got {got}"
                )
            average.copy_(found)
        self.updates = updates

    @torch.no_grad()
    def _put(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])
