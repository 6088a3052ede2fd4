"""A made-up nested model for searches: what every mix is worth is known, so the best front is too."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from elastier_trainer.frontier.pareto import Point, pareto_front
from elastier_trainer.frontier.space import Shape, Space
from elastier_trainer.submodel import Ladder, Submodel

WIDTHS = (8, 16, 32, 64, 128)
ALL_LAYERS = (0, 1, 2)


def uniform(width: int, layers: Sequence[int] = ALL_LAYERS) -> Submodel:
    return Submodel(widths=(width,) * len(layers), layers=tuple(layers), model_dim=16)


def ladder_of(*students: Submodel) -> Ladder:
    return Ladder(students={f"s{number}": student for number, student in enumerate(students)})


UNIFORM = ladder_of(*(uniform(width) for width in WIDTHS))


def cost(submodel: Submodel) -> float:
    """Some cost however little is kept, and one for each hidden unit and block."""
    return 20.0 + sum(submodel.widths) + 2 * len(submodel.layers)


def log_cost(submodel: Submodel) -> float:
    return math.log2(cost(submodel))


@dataclass(frozen=True)
class AdditiveQuality:
    """Each block adds its gain for every doubling of its width: a greedy budget would start with block 2."""

    gains: Mapping[int, float] = field(default_factory=lambda: {0: 0.01, 1: 0.02, 2: 0.05})
    asked: list[Submodel] = field(default_factory=list)

    def of(self, submodel: Submodel) -> float:
        blocks = zip(submodel.layers, submodel.widths, strict=True)
        return 0.5 + sum(self.gains[layer] * math.log2(width / 4) for layer, width in blocks)

    def __call__(self, submodels: Sequence[Submodel]) -> list[float]:
        self.asked.extend(submodels)
        return [self.of(submodel) for submodel in submodels]


def everything(space: Space) -> list[Submodel]:
    """All sub-models of a space."""
    return [mix for shape in space.shapes for mix in _mixes(space, shape)]


def true_front(space: Space, quality: AdditiveQuality) -> list[Point]:
    """The best front there is, by trying all."""
    points = [Point(log_cost(submodel), quality.of(submodel)) for submodel in everything(space)]
    return [points[index] for index in pareto_front(points)]


def _mixes(space: Space, shape: Shape) -> list[Submodel]:
    choices = [space.widths[layer] for layer in shape.layers]
    return [
        Submodel(widths=widths, layers=shape.layers, model_dim=shape.model_dim)
        for widths in product(*choices)
    ]
