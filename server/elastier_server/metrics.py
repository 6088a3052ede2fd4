"""Prometheus metrics of one server: names, labels and buckets in one place.

Children are looked up once per label set, and every label set exists from the start: a counter that appears
with its first increment loses that increment in `increase()`.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from elastier_contract.manifest import Manifest

Outcome = Literal["met", "late", "shed", "expired", "cancelled", "invalid", "error"]
OUTCOMES: tuple[Outcome, ...] = ("met", "late", "shed", "expired", "cancelled", "invalid", "error")
ANSWERED: tuple[Outcome, ...] = ("met", "late")
SHED_REASONS = ("overload", "queue_full", "infeasible", "draining")
NO_TIER = "none"
"""The tier label of a request that no tier ran."""

_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_BUDGET_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0, 2.0)


def duration_buckets_s(budgets_ms: Iterable[float]) -> tuple[float, ...]:
    """Histogram bounds in seconds: every budget is one, with finer ones below and a tail above."""
    budgets_ms = sorted(set(budgets_ms))
    bounds_ms = {round(budget_ms * share, 6) for budget_ms in budgets_ms for share in _BUDGET_SHARES}
    bounds_ms |= {budgets_ms[-1] * factor for factor in (5.0, 20.0)}
    return tuple(sorted(bound_ms / 1e3 for bound_ms in bounds_ms))


class Metrics:
    """The server's metrics in one registry; models and arms add their label sets."""

    def __init__(self, registry: CollectorRegistry, *, budgets_ms: Iterable[float], version: str) -> None:
        tier, model = ("model", "version", "tier"), ("model", "version")
        buckets_s = duration_buckets_s(budgets_ms)

        def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
            return Counter(f"elastier_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: Sequence[str]) -> Gauge:
            return Gauge(f"elastier_{name}", text, labels, registry=registry)

        def seconds(name: str, text: str) -> Histogram:
            return Histogram(f"elastier_{name}", text, tier, registry=registry, buckets=buckets_s)

        self.requests = counter("requests_total", "Requests by how they ended.", (*tier, "outcome"))
        self.request_s = seconds("request_duration_seconds", "Arrival to response, at the server.")
        self.queue_s = seconds("queue_duration_seconds", "Time in the queue, of answered requests.")
        self.compute_s = seconds("compute_duration_seconds", "Time of a batch in the engine.")
        self.batch_rows = Histogram(
            "elastier_batch_rows", "Rows of a batch.", tier, registry=registry, buckets=_BATCH_ROWS
        )
        self.shed = counter("shed_total", "Requests refused at arrival, by reason.", (*model, "reason"))
        self.queue_requests = gauge("queue_requests", "Requests in the queue.", model)
        self.queue_rows = gauge("queue_rows", "Rows in the queue.", model)
        self.slowdown = gauge("slowdown_ratio", "Observed to profiled latency (xi).", model)
        self.shared = gauge(
            "weights_shared",
            "1 if tiers run on the bundle's file, 0 if each packed a copy of its own.",
            model,
        )
        self.quality = gauge("tier_quality_ratio", "Quality: 0 for a useless answer, 1 for the TA.", tier)
        self.ready = gauge("model_ready", "1 while the model takes requests.", model)
        self.exposures = counter(
            "exposures_total", "Units that met an arm for the first time.", (*model, "experiment", "arm")
        )
        self.arm_requests = counter(
            "arm_requests_total",
            "Requests of assigned units by how they ended.",
            ("experiment", "arm", "outcome"),
        )
        self.arm_weight = gauge("arm_weight", "Planned share of an arm.", ("experiment", "arm"))
        self.requests.labels("", "", NO_TIER, "invalid")
        gauge("build_info", "The server's version, as a label.", ("version",)).labels(version).set(1)

    def failed_before_model(self, outcome: Outcome) -> None:
        """A request ended before it was known which model it was for."""
        self.requests.labels("", "", NO_TIER, outcome).inc()

    def add_arm(self, experiment: str, arm: str, *, weight: float, models: Iterable[Manifest]) -> None:
        """Create an arm's label sets at 0."""
        self.arm_weight.labels(experiment, arm).set(weight)
        for outcome in OUTCOMES:
            self.arm_requests.labels(experiment, arm, outcome)
        for manifest in models:
            self.exposures.labels(manifest.name, manifest.version, experiment, arm)


class ModelMetrics:
    """One model version's label sets; listens to its scheduler (`ServingEvents`)."""

    def __init__(self, metrics: Metrics, manifest: Manifest) -> None:
        model, names = (manifest.name, manifest.version), [tier.name for tier in manifest.tiers]
        tiers = (*names, NO_TIER)
        self._metrics = metrics
        self._model = model
        self._answered = {
            (index, outcome): metrics.requests.labels(*model, name, outcome)
            for (index, name), outcome in product(enumerate(names), ANSWERED)
        }
        self._failed = {
            outcome: metrics.requests.labels(*model, NO_TIER, outcome)
            for outcome in OUTCOMES
            if outcome not in ANSWERED
        }
        self._request_s = [metrics.request_s.labels(*model, name) for name in tiers]
        self._queue_s = [metrics.queue_s.labels(*model, name) for name in names]
        self._compute_s = [metrics.compute_s.labels(*model, name) for name in names]
        self._batch_rows = [metrics.batch_rows.labels(*model, name) for name in names]
        self._shed = {reason: metrics.shed.labels(*model, reason) for reason in SHED_REASONS}
        self._queue_requests, self._queue_rows, self._slowdown = 0, 0, 1.0
        # Read when they are asked for: they change with every request.
        metrics.queue_requests.labels(*model).set_function(lambda: self._queue_requests)
        metrics.queue_rows.labels(*model).set_function(lambda: self._queue_rows)
        metrics.slowdown.labels(*model).set_function(lambda: self._slowdown)
        for tier in manifest.tiers:
            metrics.quality.labels(*model, tier.name).set(manifest.utility(tier))

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Let the gauge ask the model itself whenever it is read."""
        self._metrics.ready.labels(*self._model).set_function(lambda: float(ready()))

    def answered(self, *, tier: int, outcome: Outcome, duration_s: float, queue_s: float) -> None:
        """A request was answered, in time or late."""
        self._answered[tier, outcome].inc()
        self._request_s[tier].observe(duration_s)
        self._queue_s[tier].observe(queue_s)

    def failed(self, outcome: Outcome, duration_s: float) -> None:
        """A request ended without an answer."""
        self._failed[outcome].inc()
        self._request_s[-1].observe(duration_s)

    def exposed(self, experiment: str, arm: str) -> None:
        """A unit met an arm for the first time."""
        self._metrics.exposures.labels(*self._model, experiment, arm).inc()

    def shed(self, reason: str) -> None:
        """See `ServingEvents`."""
        self._shed[reason].inc()

    def expired(self) -> None:
        """See `ServingEvents`; the request itself is counted where it is answered."""

    def cancelled(self) -> None:
        """See `ServingEvents`; the request itself is counted where its client left."""

    def ran(self, *, tier: int, requests: int, rows: int, compute_s: float, predicted_s: float) -> None:  # noqa: ARG002
        """See `ServingEvents`."""
        self._compute_s[tier].observe(compute_s)
        self._batch_rows[tier].observe(rows)

    def queue_changed(self, *, requests: int, rows: int) -> None:
        """See `ServingEvents`."""
        self._queue_requests, self._queue_rows = requests, rows

    def slowdown_changed(self, xi: float) -> None:
        """See `ServingEvents`."""
        self._slowdown = xi

    def loaded(self, *, shared: bool) -> None:
        """See `ServingEvents`."""
        self._metrics.shared.labels(*self._model).set(float(shared))
