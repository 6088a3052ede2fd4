"""Your own model: an ordinary `nn.Module` made into a nested one, which trains and exports as the built-in ones."""

from elastier_trainer.nest.build import nest
from elastier_trainer.nest.importance import sort_by_importance
from elastier_trainer.nest.module import NestedModule
from elastier_trainer.nest.spec import NestSpec

__all__ = ["NestSpec", "NestedModule", "nest", "sort_by_importance"]
