"""Nested layers: every narrower sub-model is a prefix of the TA's weights (M-nesting, arXiv 2505.23337).

The width is an argument of `forward`: no layer remembers a "current" sub-model.

Shapes: B rows, D model dimension, H hidden units of the TA, h <= H hidden units in use.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Widths = tuple[int, ...]
"""Hidden units per block, from the first block to the last."""


@dataclass(frozen=True, kw_only=True)
class NestedParameter:
    """A parameter whose prefix along `axis` is what a narrower sub-model uses of it."""

    block: int
    axis: int


class NestedModel(Protocol):
    """What training, slicing and costing need to know of a nested model."""

    @property
    def full_widths(self) -> Widths:
        """Hidden units of the TA, per block."""
        ...

    def nested_parameters(self) -> dict[str, NestedParameter]:
        """Parameter name (as in `state_dict`) → how it nests; all others belong to every sub-model."""
        ...

    def parameter_count(self, widths: Widths) -> int:
        """Parameters that the sub-model of these widths uses."""
        ...

    def flops_per_row(self, widths: Widths) -> int:
        """Floating-point operations of one row in the sub-model of these widths, two per multiply-add."""
        ...


class NestedFeedForward(nn.Module):
    """`down(gelu(up(x)))` with a nested hidden dimension.

    Both weights lie hidden-major, [H, D]: the first h hidden units are one contiguous range of either.
    """

    def __init__(self, model_dim: int, hidden: int) -> None:
        super().__init__()
        self.up_HD = nn.Parameter(torch.empty(hidden, model_dim))
        self.up_bias_H = nn.Parameter(torch.zeros(hidden))
        self.down_HD = nn.Parameter(torch.empty(hidden, model_dim))
        self.down_bias_D = nn.Parameter(torch.zeros(model_dim))
        nn.init.kaiming_uniform_(self.up_HD, a=math.sqrt(5))
        nn.init.uniform_(self.down_HD, -1 / math.sqrt(hidden), 1 / math.sqrt(hidden))

    def forward(self, x_BD: Tensor, width: int) -> Tensor:
        """Use the first `width` hidden units: [B, D] → [B, D]."""
        up_hD: Tensor = self.up_HD
        bias_h: Tensor = self.up_bias_H
        down_hD: Tensor = self.down_HD
        if width != up_hD.shape[0]:
            up_hD, bias_h, down_hD = up_hD[:width], bias_h[:width], down_hD[:width]
        hidden_Bh = F.gelu(F.linear(x_BD, up_hD, bias_h))
        return hidden_Bh @ down_hD + self.down_bias_D
