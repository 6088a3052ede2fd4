"""What a load test found: a pure function of its records."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from elastier_contract.manifest import Manifest
from elastier_contract.model import FrozenModel
from elastier_loadtest.records import UNFINISHED, Outcome, Record
from elastier_loadtest.scenario import Scenario

CAPACITY_MEANS = (
    "the most answers in time per second of any tried number of connections, each sending its next request "
    "as soon as the last one is answered"
)
LATE_GENERATOR_MS = 5.0
BUSY_GENERATOR = 0.9
_EXAMPLES = 20


class Percentiles(FrozenModel):
    """Percentiles of a time, in milliseconds."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float


class Figures(FrozenModel):
    """The figures of all requests, or of those with one budget; shares are between 0 and 1."""

    budget_ms: float | None
    """None for all requests."""
    requests: int
    answered: int
    met: float | None
    """Share of all requests whose deadline was met, as the server said it."""
    met_by_client: float | None
    """The same by the client's clock, from the moment a request was due."""
    effective_accuracy: float | None
    """Mean over all requests of the tier's utility, 0 for a missed deadline; None without a bundle."""
    latency_ms: Percentiles | None
    """From due to answered, of answered requests, by the client's clock."""
    server_ms: Percentiles | None
    tier_shares: dict[str, float]
    """Tier → share of the answered requests."""
    refused: dict[str, int]
    """Requests shed (429) or expired (504)."""
    errors: dict[str, int]
    """What else kept requests from an answer."""


class Capacity(FrozenModel):
    """The measured capacity in requests per second, and the steps that found it."""

    rate: float
    connections: int
    means: str = CAPACITY_MEANS
    steps: tuple[dict[str, Any], ...]


class Client(FrozenModel):
    """How well the client itself did: where it was late or busy, latency is partly its own."""

    lag_ms: Percentiles | None
    """How much later than due the requests were sent."""
    cpu_share: float
    """Share of one core that it used; it is one process and can use no more."""
    concurrent_requests: int
    """Most requests that were under way at once."""
    warnings: tuple[str, ...]


class Report(FrozenModel):
    """What a load test found."""

    scenario: Scenario
    model: str | None
    version: str | None
    arrivals: str
    rate: float
    """Requests per second that were planned."""
    seconds: float
    """Seconds of load that the figures are from, without the warm-up."""
    interrupted: bool
    overall: Figures
    budgets: tuple[Figures, ...]
    capacity: Capacity | None
    client: Client
    violations: dict[str, int]
    """What was wrong with answers → how often, warm-up included."""
    violation_examples: tuple[dict[str, Any], ...]

    @property
    def ok(self) -> bool:
        """Whether every answer was right and there was no error."""
        return not self.violations and not self.overall.errors


def build_report(scenario: Scenario, outcome: Outcome, manifest: Manifest | None) -> Report:
    """Sum up the records of a load test; `manifest` tells the tiers' utility."""
    records = [record for record in outcome.records if record.due_s >= scenario.warm_up_s]
    if outcome.interrupted:  # what the interrupt cut off says nothing about the server
        records = [record for record in records if record.error != UNFINISHED]
    utility = {tier.name: manifest.utility(tier) for tier in manifest.tiers} if manifest else None
    wrong = [record for record in outcome.records if record.violation is not None]
    return Report(
        scenario=scenario,
        model=scenario.model or (manifest.name if manifest else None),
        version=manifest.version if manifest else None,
        arrivals=outcome.arrivals,
        rate=outcome.rate,
        seconds=max(outcome.elapsed_s - scenario.warm_up_s, 0.0),
        interrupted=outcome.interrupted,
        overall=_figures(None, records, utility),
        budgets=tuple(
            _figures(budget_ms, [r for r in records if r.budget_ms == budget_ms], utility)
            for budget_ms in sorted(scenario.budgets_ms)
        ),
        capacity=_capacity(outcome),
        client=_client(outcome, records, scenario),
        violations=dict(Counter(str(record.violation) for record in wrong).most_common()),
        violation_examples=tuple(asdict(record) for record in wrong[:_EXAMPLES]),
    )


def _figures(budget_ms: float | None, records: Sequence[Record], utility: dict[str, float] | None) -> Figures:
    answered = [record for record in records if record.answered]
    tiers = Counter(record.tier for record in answered if record.tier is not None)
    return Figures(
        budget_ms=budget_ms,
        requests=len(records),
        answered=len(answered),
        met=_mean(float(record.met) for record in records),
        met_by_client=_mean(float(record.met_by_client) for record in records),
        effective_accuracy=_mean(_worth(record, utility) for record in records) if utility else None,
        latency_ms=_percentiles(record.latency_ms for record in answered),
        server_ms=_percentiles(record.server_ms for record in answered),
        tier_shares={tier: count / len(answered) for tier, count in tiers.most_common()},
        refused=_count(str(r.status) for r in records if r.error is None and not r.answered),
        errors=_count(record.error for record in records if record.error is not None),
    )


def _worth(record: Record, utility: dict[str, float]) -> float:
    # A tier that the bundle does not have is worth nothing, and is counted as a violation besides.
    return utility.get(record.tier or "", 0.0) if record.met else 0.0


def _capacity(outcome: Outcome) -> Capacity | None:
    if not outcome.capacity:
        return None
    best = max(outcome.capacity, key=lambda step: step.in_time)
    return Capacity(
        rate=best.in_time,
        connections=best.connections,
        steps=tuple(asdict(step) for step in outcome.capacity),
    )


def _client(outcome: Outcome, records: Sequence[Record], scenario: Scenario) -> Client:
    lag_ms = _percentiles(record.lag_ms for record in records)
    warnings = []
    if lag_ms is not None and lag_ms.p99 > LATE_GENERATOR_MS:
        warnings.append(
            f"1 % of the requests were sent over {lag_ms.p99:.1f} ms late: latency is partly the client's own"
        )
    if outcome.cpu_share > BUSY_GENERATOR or any(
        step.cpu_share > BUSY_GENERATOR for step in outcome.capacity
    ):
        warnings.append("the client used up its core: the server may take more than was offered or measured")
    if outcome.live_peak > scenario.connections:
        warnings.append(
            f"{outcome.live_peak} requests were under way at once on {scenario.connections} connections: "
            "some waited for one"
        )
    return Client(
        lag_ms=lag_ms,
        cpu_share=outcome.cpu_share,
        concurrent_requests=outcome.live_peak,
        warnings=tuple(warnings),
    )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(str(value) for value in values).most_common())


def _percentiles(values_ms: Iterable[float | None]) -> Percentiles | None:
    found = [value for value in values_ms if value is not None]
    if not found:
        return None
    p50, p90, p95, p99 = np.quantile(found, (0.5, 0.9, 0.95, 0.99)).tolist()
    return Percentiles(p50=p50, p90=p90, p95=p95, p99=p99, max=max(found))
