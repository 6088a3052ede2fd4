"""What a study is told: a YAML file, every value checked before the first job starts."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from elastier_trainer.checked import STRICT
from elastier_trainer.document import findings, read_yaml
from elastier_trainer.errors import ConfigError

RecipeKind = Literal["alone", "alone_ta", "distilled", "separate_ta", "matformer", "nested_teacher", "matta"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Settings = dict[str, Any]
"""Key path of a training configuration, such as `objective.alpha` → value."""


@dataclass(frozen=True, kw_only=True)
class RecipeSpec:
    """A recipe of the study: one of the known kinds, or a variant of one under a name of its own."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    recipe: RecipeKind
    name: Name = ""
    """Defaults to the kind."""
    set: Settings = field(default_factory=dict)
    widths: tuple[PositiveInt, ...] = ()
    """Widths that `alone` and `distilled` train, each by itself; empty takes the student's alone."""
    optimizers: tuple[Name, ...] = ()
    """Optimizers of the study that it is trained with; empty takes all."""
    tuned_as: Name | None = None
    """Recipe whose tuned settings it takes; None tunes it by itself."""


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec:
    """An optimizer of the study, and the settings that are tried to tune it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    set: Settings = field(default_factory=dict)
    grid: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = field(default_factory=dict)
    """Key path → values; every combination is tried."""

    @property
    def trials(self) -> tuple[Settings, ...]:
        """Every combination of the grid; one, empty, if there is no grid."""
        return tuple(
            dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())
        )


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """How settings are chosen: by the mean validation metric over a run's widths."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    seed: Seed = 1000
    """Of the trials; never one of the reported seeds."""
    each_width: bool = True
    """Tune every width of `alone` and `distilled` by itself; false takes what its smallest width chose."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A grid of recipes, optimizers and seeds over one training configuration."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Name
    base: dict[str, Any]
    """A training configuration; its paths are relative to the study's file."""
    recipes: Annotated[tuple[RecipeSpec, ...], Field(min_length=1)]
    optimizers: Annotated[dict[Name, OptimizerSpec], Field(min_length=1)]
    """Label → settings; `optimizer.name` is the label unless `set` says otherwise. The first is the reference."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    tuning: TuningConfig = field(default_factory=TuningConfig)
    baselines: tuple[Name, ...] = ("alone", "alone_ta", "distilled")
    """Recipes that the others are compared with, where both have a width."""
    workers: PositiveInt = 1
    """Jobs at a time."""
    threads: PositiveInt = 1
    """Threads of each job; another number gives sums in another order, thus other weights."""

    def __post_init__(self) -> None:
        """Refuse values that do not fit each other.

        Raises:
            ValueError: Says which keys contradict each other.
        """
        names = [spec.name for spec in self.recipes]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"recipes: expected each name once, got {twice} again")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds: expected each once, got {list(self.seeds)}")
        if self.tuning.seed in self.seeds:
            raise ValueError(f"tuning.seed: expected none of the reported seeds, got {self.tuning.seed}")
        budgets = {label: len(spec.trials) for label, spec in self.optimizers.items()}
        if len(set(budgets.values())) > 1:
            raise ValueError(
                f"optimizers: expected grids of one size, the same budget for all, got {budgets}"
            )
        for spec in self.recipes:
            self._check_recipe(spec, names)

    def _check_recipe(self, spec: RecipeSpec, names: list[str]) -> None:
        if unknown := sorted(set(spec.optimizers) - set(self.optimizers)):
            raise ValueError(
                f"recipes: {spec.name}: expected optimizers of {list(self.optimizers)}, got {unknown}"
            )
        if spec.widths and spec.recipe not in ("alone", "distilled"):
            raise ValueError(f"recipes: {spec.name}: widths belong to alone and distilled, not {spec.recipe}")
        if spec.tuned_as is not None and (spec.tuned_as not in names or spec.tuned_as == spec.name):
            raise ValueError(
                f"recipes: {spec.name}: tuned_as: expected another recipe, got {spec.tuned_as!r}"
            )
        tuned = {key for optimizer in self.optimizers.values() for key in optimizer.grid}
        if both := sorted(tuned & set(spec.set)):
            raise ValueError(f"recipes: {spec.name}: {both} is tuned by the grid, so `set` cannot fix it")

    def optimizers_of(self, spec: RecipeSpec) -> tuple[str, ...]:
        """Labels of the optimizers that a recipe is trained with, in the study's order."""
        return tuple(label for label in self.optimizers if not spec.optimizers or label in spec.optimizers)


_ADAPTER: TypeAdapter[StudyConfig] = TypeAdapter(StudyConfig)


def load_study(path: Path) -> StudyConfig:
    """Read a study's YAML file.

    Raises:
        ConfigError: No such file, not YAML, an unknown key or a wrong value; names the key path.
    """
    return parse_study(read_yaml(path), source=str(path))


def parse_study(document: dict[str, Any], *, source: str) -> StudyConfig:
    """Check a study's document; `source` names it in errors.

    Raises:
        ConfigError: An unknown key or a wrong value.
    """
    recipes = document.get("recipes")
    if isinstance(recipes, list):
        document = {**document, "recipes": [_named(entry) for entry in recipes]}
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(findings(error))) from error


def dump_study(study: StudyConfig) -> dict[str, Any]:
    """The study as plain values; `parse_study` reads it back."""
    document: dict[str, Any] = _ADAPTER.dump_python(study, mode="json")
    return document


def _named(entry: Any) -> Any:
    if isinstance(entry, str):
        return {"recipe": entry, "name": entry}
    if isinstance(entry, dict) and "recipe" in entry:
        return {"name": entry["recipe"], **entry}
    return entry
