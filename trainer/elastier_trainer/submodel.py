"""What a student is: what it keeps of the TA along the three nesting axes (M-nesting, arXiv 2505.23337).

Layer width (hidden units of a block), depth (which blocks), model dimension. A student has no weights of its
own: it is a view on prefixes of the TA's parameters.

Shapes: B rows, C outputs of the model.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

Inputs = Mapping[str, Tensor]
"""Input name → tensor, rows first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submodel:
    """What one sub-model keeps of the TA; the TA itself keeps all of it."""

    widths: tuple[int, ...]
    """Hidden units per kept block."""
    layers: tuple[int, ...]
    """Indices of the kept blocks, ascending, one per entry of `widths`."""
    model_dim: int
    """Kept model dimension; 0 for a model whose dimension does not nest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSlice:
    """The part of a parameter that a sub-model uses: the first `shape[i]` entries along every axis i."""

    source: str
    """Name in the nested model's `state_dict`; a sub-model's own norms lie elsewhere than the TA's."""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class NestedModel(Protocol):
    """What training, slicing and costing need to know of a nested network; always an `nn.Module` too."""

    @property
    def full(self) -> Submodel:
        """The TA."""
        ...

    def logits(self, inputs: Inputs, submodels: Sequence[Submodel]) -> list[Tensor]:
        """Outputs [B, C] of each sub-model; what they have in common is computed once."""
        ...

    def slices(self, submodel: Submodel) -> dict[str, ParameterSlice]:
        """Parameter name in the TA by itself, `extract(full)` → what the sub-model uses in its place.

        In the order of the parameters of `extract(submodel)`. A parameter of a block that the sub-model leaves
        out is not in it.
        """
        ...

    def extract(self, submodel: Submodel) -> nn.Module:
        """The sub-model by itself: `forward(**inputs)` → [B, C], parameters copied, nothing nested in it."""
        ...

    def flops_per_row(self, submodel: Submodel) -> int:
        """Floating-point operations of one row, two per multiply-add."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters of the TA; see `nn.Module`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The students by name, from the smallest to the TA, which is last."""

    students: dict[str, Submodel]

    @property
    def names(self) -> tuple[str, ...]:
        """Names, smallest first."""
        return tuple(self.students)

    @property
    def submodels(self) -> tuple[Submodel, ...]:
        """Sub-models, smallest first; the last is the TA."""
        return tuple(self.students.values())

    @property
    def smallest(self) -> Submodel:
        """*The* student: it is trained on every step."""
        return self.submodels[0]

    @property
    def ta(self) -> Submodel:
        """The full network."""
        return self.submodels[-1]


def parameter_count(model: NestedModel, submodel: Submodel) -> int:
    """Numbers that a sub-model uses."""
    return sum(part.numbers for part in model.slices(submodel).values())


def widths_of(submodels: Iterable[Submodel], block: int) -> tuple[int, ...]:
    """Hidden units that a block has in one of these sub-models or another, ascending."""
    found = {
        width
        for submodel in submodels
        for kept, width in zip(submodel.layers, submodel.widths, strict=True)
        if kept == block
    }
    return tuple(sorted(found))


def evenly_spaced(blocks: int, kept: int) -> tuple[int, ...]:
    """Indices of `kept` of `blocks` blocks, as far apart as can be, first and last among them."""
    if kept == 1:
        return (0,)
    return tuple(round(index * (blocks - 1) / (kept - 1)) for index in range(kept))


def student_name(submodel: Submodel, full: Submodel) -> str:
    """`w8` where every block has 8 hidden units, `w8-16` per block; `-b0.2` names kept blocks, `-d64` the dimension."""
    widths = submodel.widths[:1] if len(set(submodel.widths)) == 1 else submodel.widths
    name = "w" + "-".join(map(str, widths))
    if submodel.layers != full.layers:
        name += "-b" + ".".join(map(str, submodel.layers))
    if submodel.model_dim != full.model_dim:
        name += f"-d{submodel.model_dim}"
    return name
