"""Which arm of a running experiment a request belongs to, and the tiers that arm allows."""

from dataclasses import dataclass

from elastier_server.experiment.assignment import Experiments
from elastier_server.experiment.exposure import Exposures
from elastier_server.inference import TierBounds
from elastier_server.protocol.asking import Ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A request's place in an experiment."""

    experiment: str
    arm: str
    bounds: TierBounds


class Arms:
    """Assigns requests that name a unit, and counts each unit's first meeting with its arm."""

    def __init__(self, experiments: Experiments | None, exposures: Exposures) -> None:
        self._experiments = experiments
        self._exposures = exposures

    def place(self, ask: Ask) -> Place | None:
        """The request's arm, or None outside of experiments.

        Counted here, before scheduling: a unit whose request is shed was exposed all the same. A request that
        bounds its tiers itself would not get what its arm says, so it takes no part.
        """
        unit = ask.wishes.unit
        if self._experiments is None or unit is None or ask.wishes.names_tiers:
            return None
        assignment = self._experiments.assign(unit, ask.served.manifest.name)
        if assignment is None:
            return None
        if self._exposures.first_time(assignment, unit):
            ask.served.metrics.exposed(assignment.experiment, assignment.arm)
        lowest, highest = assignment.target.bounds(ask.served.tier_names)
        return Place(
            experiment=assignment.experiment,
            arm=assignment.arm,
            bounds=TierBounds(lowest=lowest, highest=highest),
        )
