"""Which arm a unit belongs to: pure functions, the same on every replica and in every GrowthBook SDK.

The hash, the bucket ranges and the namespaces are those of GrowthBook's version 2 hash
(https://docs.growthbook.io/lib/build-your-own): nothing is stored per unit.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from elastier_server.errors import ExperimentConfigError
from elastier_server.experiment.schema import Arm, Experiment, ExperimentsFile, NamespaceRange, Target

BUCKETS = 10_000
_NAMESPACE_BUCKETS = 1_000
_FNV_OFFSET, _FNV_PRIME, _32_BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF


def fnv1a32(text: str) -> int:
    """The 32-bit FNV-1a hash over UTF-16 code units, as JavaScript's `charCodeAt` gives them."""
    value = _FNV_OFFSET
    for unit in _utf16_units(text):
        value = ((value ^ unit) * _FNV_PRIME) & _32_BITS
    return value


def _utf16_units(text: str) -> Iterable[int]:
    if text.isascii():  # nearly always, and half the time of the general way
        return text.encode("ascii")
    data = text.encode("utf-16-le", "surrogatepass")
    return (high << 8 | low for low, high in zip(data[::2], data[1::2], strict=True))


def bucket(salt: str, unit: str) -> float:
    """Where a unit lies in [0, 1), in steps of 1 / 10,000."""
    return fnv1a32(str(fnv1a32(salt + unit))) % BUCKETS / BUCKETS


def bucket_ranges(weights: Sequence[float], coverage: float) -> list[tuple[float, float]]:
    """The buckets of each arm, [start, end): starts depend on the weights only, so coverage moves nobody."""
    ranges = []
    start = 0.0
    for weight in weights:
        ranges.append((start, start + coverage * weight))
        start += weight
    return ranges


def in_namespace(namespace: NamespaceRange, unit: str) -> bool:
    """Whether a unit lies in a range of a namespace (the version 1 hash, as in every SDK)."""
    place = fnv1a32(f"{unit}__{namespace.name}") % _NAMESPACE_BUCKETS / _NAMESPACE_BUCKETS
    start, end = namespace.range
    return start <= place < end


def choose_arm(experiment: Experiment, unit: str) -> Arm | None:
    """The arm of a unit, whatever the experiment's status; None where the experiment leaves the unit out."""
    if not unit or (experiment.namespace is not None and not in_namespace(experiment.namespace, unit)):
        return None
    place = bucket(experiment.salt, unit)
    ranges = bucket_ranges([arm.weight for arm in experiment.arms], experiment.coverage)
    for arm, (start, end) in zip(experiment.arms, ranges, strict=True):
        if start <= place < end:
            return arm
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The arm that a unit's request is served by."""

    experiment: str
    arm: str
    target: Target
    probability: float
    """That a unit of this experiment meets this arm: the arm's weight."""


class Experiments:
    """The experiments of one file, in its order."""

    def __init__(self, file: ExperimentsFile, source: str = "experiments") -> None:
        self.file = file
        self._source = source
        self._running = tuple(e for e in file.experiments if e.status == "running")

    @property
    def running(self) -> tuple[Experiment, ...]:
        """Those that assign units, in file order."""
        return self._running

    def assign(self, unit: str, model: str) -> Assignment | None:
        """The arm of the first running experiment that includes the unit; None if none does."""
        for experiment in self._applying_to(model):
            arm = choose_arm(experiment, unit)
            if arm is not None:
                return Assignment(
                    experiment=experiment.key, arm=arm.key, target=arm.target, probability=arm.weight
                )
        return None

    def check_tiers(self, model: str, tier_names: Sequence[str]) -> None:
        """Check that every running arm can be served by this model; `tier_names` go from cheap to costly.

        Raises:
            ExperimentConfigError: An arm's target does not fit the model's tiers.
        """
        for experiment in self._applying_to(model):
            for arm in experiment.arms:
                try:
                    arm.target.bounds(tier_names)
                except ValueError as error:
                    where = f"{self._source}: arm {arm.key!r} of {experiment.key!r}, model {model!r}"
                    raise ExperimentConfigError(f"{where}: {error}") from error

    def _applying_to(self, model: str) -> Iterator[Experiment]:
        return (e for e in self._running if e.model is None or e.model == model)
