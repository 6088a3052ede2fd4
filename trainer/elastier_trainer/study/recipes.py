"""Recipes: from the study's training configuration to what each network of a recipe is trained with.

Pure functions over plain documents. `Unit` is one training run but for its seed and tuned settings.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elastier_trainer.errors import ConfigError
from elastier_trainer.study.config import RecipeSpec, Settings, StudyConfig

Document = dict[str, Any]
"""A training configuration as plain values."""

LABELS_ONLY: Settings = {
    "teacher": None,
    "objective.alpha": 0.0,
    "objective.w_distill": 0.0,
    # Rows without labels teach nothing without a teacher: passing over them would only cost time.
    "unlabelled_rows": 0,
}


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one recipe trains with one optimizer in one run."""

    recipe: str
    optimizer: str
    width: int | None
    """Of a network by itself; None for a nested one, which has every width of the ladder."""
    document: Document
    trials: tuple[Settings, ...]
    """Settings to choose from."""
    taught_by: str | None = None
    """Key of the unit whose network is the teacher."""
    tuned_by: str | None = None
    """Key of the unit whose choice of settings it takes."""

    @property
    def key(self) -> str:
        """Unique in a study."""
        return _key(self.recipe, self.optimizer, self.width)


def units_of(study: StudyConfig) -> dict[str, Unit]:
    """Every unit of a study by key, each recipe with each of its optimizers.

    Raises:
        ConfigError: A base without a ladder, a width outside it, or `tuned_as` of a recipe that fits not.
    """
    specs = {spec.name: spec for spec in study.recipes}
    units = [
        unit
        for spec in study.recipes
        for label in study.optimizers_of(spec)
        for unit in _units(study, spec, label, specs)
    ]
    by_key = {unit.key: unit for unit in units}
    for unit in units:
        if unit.tuned_by is not None and unit.tuned_by not in by_key:
            raise ConfigError(
                f"recipes: {unit.recipe}: tuned_as: expected a unit {unit.tuned_by} in the study, "
                f"there are {sorted(by_key)}"
            )
    return by_key


def put(document: Document, settings: Mapping[str, Any]) -> Document:
    """A copy of the document with these key paths set.

    Raises:
        ConfigError: A key path leads through something that is not a mapping.
    """
    document = copy.deepcopy(document)
    for key_path, value in settings.items():
        *parents, key = key_path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key_path}: expected {parent} to be a mapping, got {place!r}")
        place[key] = value
    return document


def ladder_of(study: StudyConfig) -> tuple[int, ...]:
    """Widths of the base configuration, ascending; the last is the TA.

    Raises:
        ConfigError: The base has no list of widths.
    """
    ladder = study.base.get("ladder")
    if not isinstance(ladder, list | tuple) or not ladder or not all(type(width) is int for width in ladder):
        raise ConfigError(f"base.ladder: expected a list of widths, got {ladder!r}")
    return tuple(ladder)


def _units(
    study: StudyConfig, spec: RecipeSpec, optimizer: str, specs: Mapping[str, RecipeSpec]
) -> Iterator[Unit]:
    trials = study.optimizers[optimizer].trials
    taught_by = None
    widths = _widths(study, spec)
    for width in widths:
        settings = {**_settings(spec, width), **study.optimizers[optimizer].set, **spec.set}
        document = put(study.base, {"optimizer.name": optimizer, "threads": study.threads, **settings})
        unit = Unit(
            recipe=spec.name,
            optimizer=optimizer,
            width=width,
            document=document,
            trials=trials,
            taught_by=taught_by,
            tuned_by=_tuned_by(study, spec, optimizer, width, specs),
        )
        if spec.recipe == "separate_ta":
            taught_by = unit.key
        yield unit


def _widths(study: StudyConfig, spec: RecipeSpec) -> tuple[int | None, ...]:
    """The runs of a recipe: one for each width by itself, or one nested run for all of them."""
    ladder = ladder_of(study)
    match spec.recipe:
        case "alone" | "distilled":
            if unknown := sorted(set(spec.widths) - set(ladder)):
                raise ConfigError(
                    f"recipes: {spec.name}: expected widths of the ladder {list(ladder)}, got {unknown}"
                )
            return tuple(sorted(set(spec.widths))) or ladder[:1]
        case "alone_ta":
            return ladder[-1:]
        case "separate_ta":
            return ladder[-1], ladder[0]
        case _:
            return (None,)


def _settings(spec: RecipeSpec, width: int | None) -> Settings:
    by_itself: Settings = {}
    if width is not None:
        by_itself = {"ladder": [width], "model.hidden": width, "watch": None}
    match spec.recipe:
        case "alone" | "alone_ta":
            return {**by_itself, **LABELS_ONLY}
        case "matformer":
            return dict(LABELS_ONLY)
        case "distilled" | "separate_ta":
            return {**by_itself, "objective.w_distill": 0.0}
        case "nested_teacher":
            return {"objective.w_distill": 0.0}
        case "matta":
            return {}


def _tuned_by(
    study: StudyConfig,
    spec: RecipeSpec,
    optimizer: str,
    width: int | None,
    specs: Mapping[str, RecipeSpec],
) -> str | None:
    smallest = _widths(study, spec)[0]
    if spec.tuned_as is not None:
        other = _widths(study, specs[spec.tuned_as])
        return _key(spec.tuned_as, optimizer, width if width in other else other[0])
    if not study.tuning.each_width and spec.recipe in ("alone", "distilled") and width != smallest:
        return _key(spec.name, optimizer, smallest)
    return None


def _key(recipe: str, optimizer: str, width: int | None) -> str:
    return f"{recipe}/{optimizer}/" + ("nested" if width is None else f"w{width}")
