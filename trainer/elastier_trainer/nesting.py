"""Nested layers: every smaller sub-model is a prefix of the TA's weights (M-nesting, arXiv 2505.23337).

What is kept is an argument of `forward`, or follows from the input's size: no layer remembers a "current"
sub-model.

Shapes: B rows, D model dimension of the TA, d <= D kept of it, H hidden units of the TA, h <= H kept, C outputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NestedFeedForward(nn.Module):
    """`down(gelu(up(x)))` with a nested hidden dimension and a nested model dimension.

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

    def forward(self, x_Bd: Tensor, width: int) -> Tensor:
        """Use the first `width` hidden units: [B, d] → [B, d]."""
        hidden, model_dim = self.up_HD.shape
        up_hd: Tensor = self.up_HD
        bias_h: Tensor = self.up_bias_H
        down_hd: Tensor = self.down_HD
        bias_d: Tensor = self.down_bias_D
        if width != hidden:
            up_hd, bias_h, down_hd = up_hd[:width], bias_h[:width], down_hd[:width]
        kept = x_Bd.shape[1]
        if kept != model_dim:
            up_hd, down_hd, bias_d = up_hd[:, :kept], down_hd[:, :kept], bias_d[:kept]
        hidden_Bh = F.gelu(F.linear(x_Bd, up_hd, bias_h))
        return hidden_Bh @ down_hd + bias_d


class NestedLayerNorm(nn.LayerNorm):
    """A layer norm over the model dimension that is there."""

    def forward(self, x_Bd: Tensor) -> Tensor:
        """[B, d] → [B, d]."""
        kept = x_Bd.shape[1]
        weight_d: Tensor = self.weight
        bias_d: Tensor = self.bias
        if kept != len(weight_d):  # a slice of everything would still be a step of an exported graph
            weight_d, bias_d = weight_d[:kept], bias_d[:kept]
        return F.layer_norm(x_Bd, (kept,), weight_d, bias_d, self.eps)


class NestedHead(nn.Linear):
    """A linear map from the model dimension that is there to all outputs."""

    def forward(self, x_Bd: Tensor) -> Tensor:
        """[B, d] → [B, C]."""
        kept = x_Bd.shape[1]
        return F.linear(x_Bd, self.weight if kept == self.in_features else self.weight[:, :kept], self.bias)
