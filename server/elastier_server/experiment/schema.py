"""What an experiments file may say; what it says wrongly is refused at its place."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

Status = Literal["draft", "running", "paused", "stopped"]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""A key that is a metric label as well."""
Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0)]
Positive = Annotated[float, Field(strict=True, gt=0.0, lt=1.0)]

_WEIGHT_TOLERANCE = 1e-6


def refusal(message: str, *path: str | int) -> PydanticCustomError:
    """An error at `path` below the object that is being checked."""
    return PydanticCustomError("refused", "{message}", {"message": message, "path": path})


class Section(BaseModel):
    """A mapping of the file; a key that it does not know is refused with those that it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    planned: ClassVar[tuple[str, ...]] = ()
    """Keys of the design that this version does not serve."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, Mapping) else ():
            if key in cls.planned:
                raise refusal(f"{key!r} is not supported yet, expected one of {list(cls.model_fields)}", key)
            if key not in cls.model_fields:
                raise refusal(f"expected one of {list(cls.model_fields)}, got the unknown key {key!r}", key)
        return value


class Target(Section):
    """The tiers that an arm's requests may be given: one tier, or bounds."""

    planned = ("version", "policy")

    tier: str | None = None
    min_tier: str | None = None
    max_tier: str | None = None

    @field_validator("tier", "min_tier", "max_tier")
    @classmethod
    def _known_tier(cls, name: str | None, info: ValidationInfo) -> str | None:
        tiers: Sequence[str] | None = (info.context or {}).get("tiers")
        if name is not None and tiers is not None and name not in tiers:
            raise refusal(f"expected a tier, one of {list(tiers)}, got {name!r}")
        return name

    @model_validator(mode="after")
    def _one_kind(self, info: ValidationInfo) -> "Target":
        bounded = self.min_tier is not None or self.max_tier is not None
        if bounded == (self.tier is not None):
            given = sorted(self.model_fields_set)
            raise refusal(f"expected either 'tier' or 'min_tier' and 'max_tier', got {given}")
        tiers: Sequence[str] | None = (info.context or {}).get("tiers")
        if tiers is not None:
            self.bounds(tiers)
        return self

    def bounds(self, tier_names: Sequence[str]) -> tuple[int, int]:
        """The lowest and the highest allowed tier: indices into `tier_names`, cheapest first, both included.

        Raises:
            ValueError: A tier is not among them, or the lowest lies above the highest.
        """
        low = self.tier if self.tier is not None else self.min_tier
        high = self.tier if self.tier is not None else self.max_tier
        for name in (low, high):
            if name is not None and name not in tier_names:
                raise ValueError(f"expected a tier, one of {list(tier_names)}, got {name!r}")
        lowest = 0 if low is None else tier_names.index(low)
        highest = len(tier_names) - 1 if high is None else tier_names.index(high)
        if lowest > highest:
            raise ValueError(f"expected min_tier to be at most max_tier, got {low!r} and {high!r}")
        return lowest, highest


class Arm(Section):
    """One of the alternatives that an experiment compares."""

    key: Key
    weight: Annotated[float, Field(strict=True, gt=0.0, le=1.0)]
    """Planned share of the experiment's units."""
    target: Target


class NamespaceRange(Section):
    """The part of a namespace that an experiment owns: units outside it are not in the experiment."""

    name: Key
    range: tuple[Share, Share]
    """Start, included, and end, excluded."""

    @field_validator("range")
    @classmethod
    def _ascends(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise refusal(f"expected a start below the end, got {list(value)}")
        return value

    def overlaps(self, other: "NamespaceRange") -> bool:
        """Whether a unit can lie in both."""
        return self.name == other.name and self.range[0] < other.range[1] and other.range[0] < self.range[1]


class Metric(Section):
    """A number per unit that arms are compared by."""

    name: Key
    kind: Literal["mean", "proportion"]
    direction: Literal["up", "down"]
    """Which way is better."""


class Guardrail(Metric):
    """A metric that an arm must not make worse by more than a margin."""

    non_inferiority_margin: Positive


class Metrics(Section):
    """What an experiment is judged by; kept for the analysis of the outcomes."""

    primary: tuple[Metric, ...] = ()
    guardrails: tuple[Guardrail, ...] = ()


class Analysis(Section):
    """How an experiment is judged; kept for the analysis of the outcomes."""

    alpha: Positive = 0.05
    tuning_n: PositiveInt = 20_000
    min_units_per_arm: PositiveInt = 500
    srm_alpha: Positive = 0.001


class Experiment(Section):
    """Arms, and the units that are split over them."""

    key: Key
    status: Status
    seed: Annotated[str, Field(min_length=1)] | None = None
    """What the hash is salted with; the key if absent. Another seed splits the units anew."""
    model: str | None = None
    """The only model it applies to; every model if absent."""
    namespace: NamespaceRange | None = None
    coverage: Share = 1.0
    """The share of units that takes part: raising it moves no unit to another arm."""
    arms: Annotated[tuple[Arm, ...], Field(min_length=2)]
    metrics: Metrics = Metrics()
    analysis: Analysis = Analysis()

    @property
    def salt(self) -> str:
        """What the hash is salted with."""
        return self.seed if self.seed is not None else self.key

    @field_validator("arms")
    @classmethod
    def _split(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        _refuse_duplicates([arm.key for arm in arms])
        weights = [arm.weight for arm in arms]
        if abs(sum(weights) - 1.0) > _WEIGHT_TOLERANCE:
            terms = " + ".join(f"{weight:g}" for weight in weights)
            raise refusal(f"expected weights that sum to 1, got {terms} = {sum(weights):g}")
        return arms


class NamespaceNote(Section):
    """What a namespace is for."""

    description: str = ""


class Defaults(Section):
    """What holds for every experiment."""

    unit: str = "unit"
    """What a unit is: the name that clients know it by."""


class ExperimentsFile(Section):
    """A whole experiments file."""

    version: Literal[1]
    defaults: Defaults = Defaults()
    namespaces: dict[Key, NamespaceNote] = {}
    experiments: tuple[Experiment, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "ExperimentsFile":
        _refuse_duplicates([experiment.key for experiment in self.experiments], "experiments")
        for index, experiment in enumerate(self.experiments):
            owned = experiment.namespace
            if owned is not None and owned.name not in self.namespaces:
                known = list(self.namespaces)
                raise refusal(
                    f"expected a namespace of this file, one of {known}, got {owned.name!r}",
                    *("experiments", index, "namespace", "name"),
                )
        running = [(i, e.key, e.namespace) for i, e in enumerate(self.experiments) if e.status == "running"]
        for (_, first_key, first), (index, key, second) in combinations(running, 2):
            if first is not None and second is not None and first.overlaps(second):
                raise refusal(
                    f"expected a range apart from that of the running experiment {first_key!r}, "
                    f"{list(first.range)}, got {list(second.range)} for {key!r}",
                    *("experiments", index, "namespace", "range"),
                )
        return self


def _refuse_duplicates(keys: Sequence[str], *path: str | int) -> None:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise refusal(f"expected unique keys, got {key!r} twice", *path, index, "key")
