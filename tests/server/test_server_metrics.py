"""The metrics that dashboards are built on: names, label sets from the start, buckets at the budgets."""

import pytest
from prometheus_client import CollectorRegistry

from elastier_contract.bundle import Bundle
from elastier_server.metrics import OUTCOMES, SHED_REASONS, Metrics, ModelMetrics, duration_buckets_s
from support.serving import INFER, AppClient, InferBody, Setup

NAMES = {
    "elastier_requests_total",
    "elastier_request_duration_seconds_bucket",
    "elastier_queue_duration_seconds_bucket",
    "elastier_compute_duration_seconds_bucket",
    "elastier_batch_rows_bucket",
    "elastier_shed_total",
    "elastier_queue_requests",
    "elastier_queue_rows",
    "elastier_slowdown_ratio",
    "elastier_tier_quality_ratio",
    "elastier_model_ready",
    "elastier_exposures_total",
    "elastier_arm_requests_total",
    "elastier_arm_weight",
    "elastier_build_info",
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry, budgets_ms=(1, 3, 10, 50), version="9.9")


def test_every_name_has_samples_before_the_first_request(
    registry: CollectorRegistry, metrics: Metrics, tiny_bundle: Bundle
) -> None:
    ModelMetrics(metrics, tiny_bundle.manifest).watch_ready(lambda: True)
    metrics.add_arm("e", "a", weight=0.25, models=[tiny_bundle.manifest])
    found = {sample.name for family in registry.collect() for sample in family.samples}
    assert found >= NAMES
    assert all(name.startswith("elastier_") for name in found)


def test_every_label_set_starts_at_0(
    registry: CollectorRegistry, metrics: Metrics, tiny_bundle: Bundle
) -> None:
    ModelMetrics(metrics, tiny_bundle.manifest)
    metrics.add_arm("e", "a", weight=0.25, models=[tiny_bundle.manifest])
    model = {"model": "tiny", "version": "1"}
    for outcome in OUTCOMES:
        tiers = ("w4", "w16", "w64") if outcome in {"met", "late"} else ("none",)
        for tier in tiers:
            labels = {**model, "tier": tier, "outcome": outcome}
            assert registry.get_sample_value("elastier_requests_total", labels) == 0
        labels = {"experiment": "e", "arm": "a", "outcome": outcome}
        assert registry.get_sample_value("elastier_arm_requests_total", labels) == 0
    for reason in SHED_REASONS:
        assert registry.get_sample_value("elastier_shed_total", {**model, "reason": reason}) == 0
    assert registry.get_sample_value("elastier_arm_weight", {"experiment": "e", "arm": "a"}) == 0.25
    assert registry.get_sample_value("elastier_build_info", {"version": "9.9"}) == 1


def test_every_budget_is_a_bound_of_the_durations() -> None:
    bounds_s = duration_buckets_s((3, 1, 50))
    assert {0.001, 0.003, 0.05} <= set(bounds_s)
    assert list(bounds_s) == sorted(set(bounds_s))
    assert bounds_s[0] <= 0.0001
    assert bounds_s[-1] >= 1.0


def test_what_the_scheduler_tells_is_counted(
    registry: CollectorRegistry, metrics: Metrics, tiny_bundle: Bundle
) -> None:
    events = ModelMetrics(metrics, tiny_bundle.manifest)
    events.ran(tier=1, requests=2, rows=40, compute_s=0.002, predicted_s=0.003)
    events.queue_changed(requests=3, rows=60)
    events.slowdown_changed(1.8)
    events.shed("overload")
    events.expired()
    events.cancelled()
    model = {"model": "tiny", "version": "1"}
    tier = {**model, "tier": "w16"}
    assert registry.get_sample_value("elastier_batch_rows_sum", tier) == 40
    assert registry.get_sample_value("elastier_compute_duration_seconds_sum", tier) == 0.002
    assert registry.get_sample_value("elastier_queue_requests", model) == 3
    assert registry.get_sample_value("elastier_queue_rows", model) == 60
    assert registry.get_sample_value("elastier_slowdown_ratio", model) == 1.8
    assert registry.get_sample_value("elastier_shed_total", {**model, "reason": "overload"}) == 1


def test_tier_quality_is_relative_to_the_largest(
    registry: CollectorRegistry, metrics: Metrics, tiny_bundle: Bundle
) -> None:
    ModelMetrics(metrics, tiny_bundle.manifest)
    found = [
        registry.get_sample_value(
            "elastier_tier_quality_ratio", {"model": "tiny", "version": "1", "tier": tier}
        )
        for tier in ("w4", "w16", "w64")
    ]
    assert found == pytest.approx([2 / 3, 5 / 6, 1.0])


def test_a_request_is_counted_with_its_durations(client: AppClient, setup: Setup) -> None:
    said = client.post(INFER, InferBody.of(1, timeout=10_000_000)).json()["parameters"]
    tier = {"model": "tiny", "version": "1", "tier": "w64"}
    assert setup.requests("met", "w64") == 1
    assert setup.sample("elastier_request_duration_seconds_sum", tier) == pytest.approx(
        said["server_ms"] / 1e3
    )
    assert setup.sample("elastier_queue_duration_seconds_sum", tier) == pytest.approx(0.001)


def test_a_refused_request_is_counted_without_a_tier(client: AppClient, setup: Setup) -> None:
    client.post(INFER, b"{")
    tier = {"model": "tiny", "version": "1", "tier": "none"}
    assert setup.requests("invalid") == 1
    assert setup.sample("elastier_request_duration_seconds_count", tier) == 1


def test_a_request_for_no_model_is_counted_apart(client: AppClient, setup: Setup) -> None:
    client.post("/v2/models/huge/infer", InferBody.of(1))
    labels = {"model": "", "version": "", "tier": "none", "outcome": "invalid"}
    assert setup.sample("elastier_requests_total", labels) == 1


def test_readiness_is_asked_when_it_is_read(client: AppClient, setup: Setup) -> None:
    line = 'elastier_model_ready{model="tiny",version="1"}'
    assert f"{line} 1.0" in client.get("/metrics").text
    setup.model.ready = False
    assert f"{line} 0.0" in client.get("/metrics").text


def test_metrics_are_served_in_the_format_that_is_asked_for(client: AppClient) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
