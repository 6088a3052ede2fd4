"""The models that are served, and how a request finds its own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from elastier_contract.manifest import Manifest
from elastier_server.errors import InvalidRequestError, NotFoundError
from elastier_server.inference import Model, TierBounds
from elastier_server.metrics import ModelMetrics


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """One version of a model, with its metrics."""

    model: Model
    metrics: ModelMetrics

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.model.manifest

    @cached_property
    def tier_names(self) -> tuple[str, ...]:
        """Tier names, cheapest first."""
        return tuple(tier.name for tier in self.manifest.tiers)

    @cached_property
    def all_tiers(self) -> TierBounds:
        """The bounds of a request that names none."""
        return TierBounds(lowest=0, highest=len(self.tier_names) - 1)

    def tier_index(self, name: str) -> int:
        """Index of the tier of that name.

        Raises:
            InvalidRequestError: There is no such tier.
        """
        try:
            return self.tier_names.index(name)
        except ValueError:
            raise InvalidRequestError(
                f"expected a tier of {self.manifest.name!r}, one of {list(self.tier_names)}, got {name!r}"
            ) from None


class Models:
    """All models and versions; of one model's versions, the one given last is the default."""

    def __init__(self, served: Iterable[Served]) -> None:
        self._models: dict[str, dict[str, Served]] = {}
        for entry in served:
            self._models.setdefault(entry.manifest.name, {})[entry.manifest.version] = entry

    def __iter__(self) -> Iterator[Served]:
        return (entry for versions in self._models.values() for entry in versions.values())

    def versions(self, name: str) -> Mapping[str, Served]:
        """Version → model, in the order given.

        Raises:
            NotFoundError: No such model.
        """
        found = self._models.get(name)
        if found is None:
            raise NotFoundError(f"expected a model, one of {list(self._models)}, got {name!r}")
        return found

    def find(self, name: str, version: str | None = None) -> Served:
        """The model of that name, in that version or the default one.

        Raises:
            NotFoundError: No such model or version.
        """
        versions = self.versions(name)
        if version is None:
            return list(versions.values())[-1]
        found = versions.get(version)
        if found is None:
            raise NotFoundError(f"expected a version of {name!r}, one of {list(versions)}, got {version!r}")
        return found

    @property
    def names(self) -> list[str]:
        """The names of all models."""
        return list(self._models)
