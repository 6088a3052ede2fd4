"""What may be searched: only mixes of what the run trained, since an untrained width does not work."""

import math
from dataclasses import dataclass

import numpy as np

from elastier_trainer.submodel import Ladder, Submodel, widths_of


@dataclass(frozen=True, slots=True)
class Shape:
    """What a sub-model keeps beside its widths."""

    layers: tuple[int, ...]
    model_dim: int


@dataclass(frozen=True, kw_only=True)
class Space:
    """Every mix of trained widths within every trained shape."""

    widths: dict[int, tuple[int, ...]]
    """Block of the TA → hidden units it was trained at, ascending."""
    shapes: tuple[Shape, ...]
    """Kept layers and model dimensions that were trained together."""

    @property
    def size(self) -> int:
        """How many sub-models there are."""
        return sum(math.prod(len(self.widths[layer]) for layer in shape.layers) for shape in self.shapes)

    def __contains__(self, submodel: Submodel) -> bool:
        return shape_of(submodel) in self.shapes and all(
            width in self.widths[layer] for layer, width in zip(submodel.layers, submodel.widths, strict=True)
        )

    def neighbours(self, submodel: Submodel) -> list[Submodel]:
        """Sub-models with one width a step down or up, then those of every other shape."""
        found = []
        for place, layer in enumerate(submodel.layers):
            choices = self.widths[layer]
            here = choices.index(submodel.widths[place])
            found += [
                with_width(submodel, place, choices[there])
                for there in (here - 1, here + 1)
                if 0 <= there < len(choices)
            ]
        return found + [self.reshape(submodel, shape) for shape in self.shapes if shape != shape_of(submodel)]

    def mutate(self, submodel: Submodel, rng: np.random.Generator) -> Submodel:
        """Draw a new width for some blocks, at least one; now and then a new shape first."""
        if len(self.shapes) > 1 and rng.random() < 0.25:
            submodel = self.reshape(submodel, self.shapes[int(rng.integers(len(self.shapes)))])
        places = len(submodel.layers)
        changed = 1 + int(rng.binomial(places - 1, 1 / places))
        for place in rng.choice(places, size=changed, replace=False):
            choices = self.widths[submodel.layers[place]]
            submodel = with_width(submodel, int(place), choices[int(rng.integers(len(choices)))])
        return submodel

    def cross(self, left: Submodel, right: Submodel, rng: np.random.Generator) -> Submodel:
        """The shape of one, each block's width of either."""
        other = self.reshape(right, shape_of(left))
        for place, width in enumerate(other.widths):
            if rng.random() < 0.5:
                left = with_width(left, place, width)
        return left

    def reshape(self, submodel: Submodel, shape: Shape) -> Submodel:
        """The sub-model in another shape; a block that it did not keep is as wide as the nearest it kept."""
        return Submodel(
            widths=tuple(self._closest(layer, _nearest(submodel, layer)) for layer in shape.layers),
            layers=shape.layers,
            model_dim=shape.model_dim,
        )

    def _closest(self, layer: int, width: int) -> int:
        return min(self.widths[layer], key=lambda trained: abs(trained - width))


def space_of(ladder: Ladder) -> Space:
    """All mixes of a ladder's widths per block, in the shapes of its students."""
    return Space(
        widths={layer: widths_of(ladder.submodels, layer) for layer in ladder.ta.layers},
        shapes=tuple(dict.fromkeys(shape_of(student) for student in ladder.submodels)),
    )


def shape_of(submodel: Submodel) -> Shape:
    """The shape of a sub-model."""
    return Shape(submodel.layers, submodel.model_dim)


def with_width(submodel: Submodel, place: int, width: int) -> Submodel:
    """The sub-model with another width at its block number `place`."""
    widths = (*submodel.widths[:place], width, *submodel.widths[place + 1 :])
    return Submodel(widths=widths, layers=submodel.layers, model_dim=submodel.model_dim)


def _nearest(submodel: Submodel, layer: int) -> int:
    kept = zip(submodel.layers, submodel.widths, strict=True)
    return min(kept, key=lambda block: abs(block[0] - layer))[1]
