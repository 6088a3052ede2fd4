"""The ranker: categorical embeddings and numbers → residual nested feed-forward blocks → one logit a row.

Shapes: B rows, C categorical columns, N numeric columns, D model dimension.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from elastier_contract.features import CATEGORICAL, NUMERIC, FeatureSchema
from elastier_trainer.nesting import NestedFeedForward, NestedParameter, Widths


class Ranker(nn.Module):
    """A nested network over table rows; satisfies `NestedModel`.

    All columns share one embedding table, each in its own range of rows: one lookup and one sum
    instead of one per column, which is what bounds the latency of the smallest tiers.
    """

    column_offset_C: Tensor
    mean_N: Tensor
    std_N: Tensor

    def __init__(self, features: FeatureSchema, *, model_dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.features = features
        self.full_widths: Widths = tuple(hidden)
        sizes = [column.size for column in features.categorical]
        if sizes:
            self.embedding = nn.Embedding(sum(sizes), model_dim)
            self.register_buffer(
                "column_offset_C", torch.tensor([0, *accumulate(sizes[:-1])]), persistent=False
            )
        if features.numeric:
            self.numeric = nn.Linear(len(features.numeric), model_dim)
            means, stds = zip(*((column.mean, column.std) for column in features.numeric), strict=True)
            self.register_buffer("mean_N", torch.tensor(means), persistent=False)
            self.register_buffer("std_N", torch.tensor(stds), persistent=False)
        self.norms = nn.ModuleList(nn.LayerNorm(model_dim) for _ in hidden)
        self.blocks = nn.ModuleList(NestedFeedForward(model_dim, units) for units in hidden)
        self.final_norm = nn.LayerNorm(model_dim)
        self.head = nn.Linear(model_dim, 1)

    def forward(self, inputs: dict[str, Tensor], widths: Widths) -> Tensor:
        """Logits [B, 1] of the sub-model with these hidden units per block.

        Args:
            inputs: `categorical` int64 [B, C] and `numeric` float32 [B, N], from `FeatureSchema.encode`.
            widths: Hidden units per block, each at most the TA's.
        """
        return self.rank(self.embed(inputs), widths)

    def embed(self, inputs: dict[str, Tensor]) -> Tensor:
        """The rows as vectors [B, D], the same for every sub-model."""
        x_BD: Tensor | None = None
        if self.features.numeric:
            x_BD = self.numeric((inputs[NUMERIC] - self.mean_N) / self.std_N)
        if self.features.categorical:
            summed_BD = self.embedding(inputs[CATEGORICAL] + self.column_offset_C).sum(dim=1)
            x_BD = summed_BD if x_BD is None else x_BD + summed_BD
        if x_BD is None:
            raise ValueError("a ranker needs at least one column, got a schema with none")
        return x_BD

    def rank(self, x_BD: Tensor, widths: Widths) -> Tensor:
        """Logits [B, 1] of embedded rows: lets one embedding serve several sub-models."""
        for norm, block, width in zip(self.norms, self.blocks, widths, strict=True):
            x_BD = x_BD + block(norm(x_BD), width)
        logits_B1: Tensor = self.head(self.final_norm(x_BD))
        return logits_B1

    def nested_parameters(self) -> dict[str, NestedParameter]:
        """The feed-forward weights nest along their first axis, hidden units; all else is shared whole."""
        return {
            f"blocks.{block}.{name}": NestedParameter(block=block, axis=0)
            for block in range(len(self.full_widths))
            for name in ("up_HD", "up_bias_H", "down_HD")
        }

    def parameter_count(self, widths: Widths) -> int:
        """Parameters that the sub-model of these widths uses."""
        nested = self.nested_parameters()
        count = 0
        for name, parameter in self.named_parameters():
            full = parameter.numel()
            if name in nested:
                full = full // parameter.shape[0] * widths[nested[name].block]
            count += full
        return count

    def flops_per_row(self, widths: Widths) -> int:
        """Two per multiply-add of every matrix, one per added embedding element; norms are left out."""
        model_dim = self.head.in_features
        matrices = len(self.features.numeric) * model_dim + 2 * model_dim * sum(widths) + model_dim
        return 2 * matrices + len(self.features.categorical) * model_dim
