"""The ranker: categorical embeddings and numbers → residual nested feed-forward blocks → C outputs a row.

Shapes: B rows, K categorical columns, N numeric columns, D model dimension, d kept of it, C outputs.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from elastier_contract.features import CATEGORICAL, NUMERIC, FeatureSchema
from elastier_trainer.nesting import NestedFeedForward, NestedHead, NestedLayerNorm
from elastier_trainer.submodel import Inputs, ParameterSlice, Submodel, widths_of


class Ranker(nn.Module):
    """A nested network over table rows; satisfies `NestedModel`.

    All columns share one embedding table, each in its own range of rows: one lookup and one sum
    instead of one per column, which is what bounds the latency of the smallest tiers.

    Given students, each trained width of a block has a norm of its own, and each student its own last norm and
    head: a few hundred numbers a student, which take away most of what sharing costs. A sub-model that is none
    of them takes those of the nearest one.
    """

    column_offset_K: Tensor
    mean_N: Tensor
    std_N: Tensor

    def __init__(
        self,
        features: FeatureSchema,
        *,
        model_dim: int,
        hidden: Sequence[int],
        outputs: int = 1,
        students: Sequence[Submodel] = (),
    ) -> None:
        super().__init__()
        self.features = features
        self.outputs = outputs
        self.full = Submodel(widths=tuple(hidden), layers=tuple(range(len(hidden))), model_dim=model_dim)
        self.students = tuple(sorted(students or [self.full], key=self.flops_per_row))
        sizes = [column.size for column in features.categorical]
        if sizes:
            self.embedding = nn.Embedding(sum(sizes), model_dim)
            self.register_buffer(
                "column_offset_K", torch.tensor([0, *accumulate(sizes[:-1])]), persistent=False
            )
        if features.numeric:
            self.numeric = nn.Linear(len(features.numeric), model_dim)
            means, stds = zip(*((column.mean, column.std) for column in features.numeric), strict=True)
            self.register_buffer("mean_N", torch.tensor(means), persistent=False)
            self.register_buffer("std_N", torch.tensor(stds), persistent=False)
        self.norm_widths = tuple(widths_of(self.students, block) for block in self.full.layers)
        self.norms = nn.ModuleList(
            nn.ModuleList(NestedLayerNorm(model_dim) for _ in widths) for widths in self.norm_widths
        )
        self.blocks = nn.ModuleList(NestedFeedForward(model_dim, units) for units in hidden)
        self.final_norms = nn.ModuleList(NestedLayerNorm(model_dim) for _ in self.students)
        self.heads = nn.ModuleList(NestedHead(model_dim, outputs) for _ in self.students)
        self.student_flops = tuple(self.flops_per_row(student) for student in self.students)
        self.heads.load_state_dict(_repeated(self.heads))

    def forward(self, **inputs: Tensor) -> Tensor:
        """Outputs [B, C] of the TA.

        Args:
            inputs: `categorical` int64 [B, K] and `numeric` float32 [B, N], from `FeatureSchema.encode`.
        """
        return self.rank(self.embed(inputs), self.full)

    def logits(self, inputs: Inputs, submodels: Sequence[Submodel]) -> list[Tensor]:
        """Outputs [B, C] of each sub-model, on one embedding of the rows."""
        x_BD = self.embed(inputs)
        return [self.rank(x_BD, submodel) for submodel in submodels]

    def embed(self, inputs: Inputs) -> Tensor:
        """The rows as vectors [B, D]; a smaller model dimension is a prefix of it."""
        x_BD: Tensor | None = None
        if self.features.numeric:
            x_BD = self.numeric((inputs[NUMERIC] - self.mean_N) / self.std_N)
        if self.features.categorical:
            summed_BD = self.embedding(inputs[CATEGORICAL] + self.column_offset_K).sum(dim=1)
            x_BD = summed_BD if x_BD is None else x_BD + summed_BD
        if x_BD is None:
            raise ValueError("a ranker needs at least one column, got a schema with none")
        return x_BD

    def rank(self, x_BD: Tensor, submodel: Submodel) -> Tensor:
        """Outputs [B, C] of embedded rows."""
        x_Bd = x_BD if submodel.model_dim == self.full.model_dim else x_BD[:, : submodel.model_dim]
        for block, width in zip(submodel.layers, submodel.widths, strict=True):
            norm = self.norms[block][self._norm_index(block, width)]  # type: ignore[index]
            x_Bd = x_Bd + self.blocks[block](norm(x_Bd), width)
        student = self._student_index(submodel)
        outputs_BC: Tensor = self.heads[student](self.final_norms[student](x_Bd))
        return outputs_BC

    def slices(self, submodel: Submodel) -> dict[str, ParameterSlice]:
        """See `NestedModel`."""
        kept, student = submodel.model_dim, self._student_index(submodel)
        slices: dict[str, ParameterSlice] = {}
        if self.features.categorical:
            slices |= _own("embedding", "embedding", {"weight": (self.embedding.num_embeddings, kept)})
        if self.features.numeric:
            shapes = {"weight": (kept, len(self.features.numeric)), "bias": (kept,)}
            slices |= _own("numeric", "numeric", shapes)
        blocks = list(zip(submodel.layers, submodel.widths, strict=True))
        for block, width in blocks:
            own = f"norms.{block}.{self._norm_index(block, width)}"
            slices |= _own(f"norms.{block}.0", own, {"weight": (kept,), "bias": (kept,)})
        for block, width in blocks:
            shapes = {
                "up_HD": (width, kept),
                "up_bias_H": (width,),
                "down_HD": (width, kept),
                "down_bias_D": (kept,),
            }
            slices |= _own(f"blocks.{block}", f"blocks.{block}", shapes)
        slices |= _own("final_norms.0", f"final_norms.{student}", {"weight": (kept,), "bias": (kept,)})
        slices |= _own(
            "heads.0", f"heads.{student}", {"weight": (self.outputs, kept), "bias": (self.outputs,)}
        )
        return slices

    def extract(self, submodel: Submodel) -> "Ranker":
        """See `NestedModel`; blocks are numbered anew."""
        alone = Ranker(
            self.features,
            model_dim=submodel.model_dim,
            hidden=submodel.widths,
            outputs=self.outputs,
        )
        sources = self.state_dict()
        parts = (
            sources[part.source][tuple(slice(kept) for kept in part.shape)]
            for part in self.slices(submodel).values()
        )
        alone.load_state_dict(dict(zip((name for name, _ in alone.named_parameters()), parts, strict=True)))
        return alone.train(self.training)

    def flops_per_row(self, submodel: Submodel) -> int:
        """Two per multiply-add of every matrix, one per added embedding element; norms are left out."""
        kept = submodel.model_dim
        matrices = len(self.features.numeric) * kept + 2 * kept * sum(submodel.widths) + kept * self.outputs
        return 2 * matrices + len(self.features.categorical) * kept

    def _norm_index(self, block: int, width: int) -> int:
        return _nearest(self.norm_widths[block], width)

    def _student_index(self, submodel: Submodel) -> int:
        # Field by field: torch.compile traces no comparison of dataclasses.
        for index, student in enumerate(self.students):
            if (
                student.widths == submodel.widths
                and student.layers == submodel.layers
                and student.model_dim == submodel.model_dim
            ):
                return index
        return _nearest(self.student_flops, self.flops_per_row(submodel))


def _own(module: str, source: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, ParameterSlice]:
    """Slices of a module's parameters, which lie in the module `source`."""
    return {
        f"{module}.{name}": ParameterSlice(source=f"{source}.{name}", shape=shape)
        for name, shape in shapes.items()
    }


def _nearest(sizes: Sequence[int], size: int) -> int:
    """Index of the size whose ratio to `size` is nearest to 1; of two the larger. Sizes ascend."""
    nearest = 0
    for index in range(1, len(sizes)):
        # Nearer in ratio: above the geometric mean of the two.
        if size * size >= sizes[nearest] * sizes[index]:
            nearest = index
    return nearest


def _repeated(heads: nn.ModuleList) -> dict[str, Tensor]:
    """All heads begin as the first one."""
    first = heads[0].state_dict()
    return {f"{index}.{name}": tensor for index in range(len(heads)) for name, tensor in first.items()}
