"""Which request comes when: a seeded stream of planned requests."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from elastier_contract.manifest import Manifest
from elastier_loadtest.arrivals import Arrivals
from elastier_loadtest.errors import ScenarioError
from elastier_loadtest.payloads import RequestBody, encode_all, random_payloads, read_payloads
from elastier_loadtest.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """A request and its time, in seconds from the start of the load."""

    offset_s: float
    body: RequestBody


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a user needs to know to make load."""

    bodies: list[list[RequestBody]]
    """One list per budget, of equal lengths."""
    seed: int

    def choices(self, stream: int = 0) -> Iterator[RequestBody]:
        """Yield bodies without end: every budget once in each round, in random order, with a random payload.

        Args:
            stream: Users with different streams draw different requests from the same seed.
        """
        rng = np.random.default_rng((self.seed, stream))
        while True:
            for budget in rng.permutation(len(self.bodies)).tolist():
                of_budget = self.bodies[budget]
                yield of_budget[int(rng.integers(len(of_budget)))]

    def requests(self, arrivals: Arrivals, duration_s: float, stream: int = 0) -> Iterator[PlannedRequest]:
        """Yield the requests of the first `duration_s` seconds."""
        times_s = arrivals.offsets_s(self.seed + stream)
        for offset_s, body in zip(times_s, self.choices(stream), strict=False):
            if offset_s >= duration_s:
                return
            yield PlannedRequest(offset_s=offset_s, body=body)


def make_plan(scenario: Scenario, manifest: Manifest | None) -> Plan:
    """Read or make the payloads, and encode them with every budget.

    Raises:
        ScenarioError: The payloads are no good, or there is nothing to make them from.
    """
    model = scenario.model or (manifest.name if manifest else None)
    if scenario.payloads is not None:
        payloads = read_payloads(scenario.payloads, model=model)
    elif manifest is not None and model is not None:
        payloads = random_payloads(manifest, model=model, rows=scenario.rows, seed=scenario.seed)
    else:
        raise ScenarioError("expected a bundle to make payloads from, or a file of payloads")
    return Plan(bodies=encode_all(payloads, scenario.budgets_ms), seed=scenario.seed)
