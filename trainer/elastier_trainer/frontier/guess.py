"""What a mix that was not evaluated may be worth, guessed from those that were: worth the search's order, no more.

Shapes: E evaluated sub-models, F facts (a shape, or a width at a block).
"""

from collections.abc import Callable, Hashable, Iterator, Mapping

import numpy as np

from elastier_trainer.frontier.space import shape_of
from elastier_trainer.submodel import Submodel

RIDGE = 0.1
"""Evaluations that pull a fact towards having no effect; a fact seen once is believed little."""

Guess = Callable[[Submodel], float]


def additive_guess(found: Mapping[Submodel, float]) -> Guess:
    """Ridge regression of quality on a sum over shape and blocks; a fact never seen counts nothing."""
    facts = sorted({fact for submodel in found for fact in _facts(submodel)}, key=repr)
    place = {fact: index for index, fact in enumerate(facts)}
    known_EF = np.zeros((len(found), len(facts)))
    for row, submodel in enumerate(found):
        known_EF[row, [place[fact] for fact in _facts(submodel)]] = 1.0
    quality_E = np.array(list(found.values()))
    mean, mean_F = quality_E.mean(), known_EF.mean(axis=0)
    centred_EF = known_EF - mean_F
    gram_FF = centred_EF.T @ centred_EF + RIDGE * np.eye(len(facts))
    effect_F = np.linalg.solve(gram_FF, centred_EF.T @ (quality_E - mean))
    return lambda submodel: float(
        mean - mean_F @ effect_F + sum(effect_F[place[fact]] for fact in _facts(submodel) if fact in place)
    )


def _facts(submodel: Submodel) -> Iterator[Hashable]:
    yield shape_of(submodel)
    yield from zip(submodel.layers, submodel.widths, strict=True)
