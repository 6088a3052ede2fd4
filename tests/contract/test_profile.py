"""Latency profiles: how they are measured and read."""

import pytest
from pydantic import ValidationError

from elastier_contract.errors import ProfileError
from elastier_contract.machine import describe_machine
from elastier_contract.profile import LatencyPoint, measure_profile
from support.tiny import tiny_profile


def test_latency_is_linear_between_and_beyond_the_measured_sizes() -> None:
    profile = tiny_profile()
    assert profile.latency_ms("w4", 1, "p95") == pytest.approx(1.01)
    assert profile.latency_ms("w4", 16, "p95") == pytest.approx(1.16)
    assert profile.latency_ms("w64", 100, "p50") == pytest.approx(5.0)
    assert profile.latency_ms("w64", 2048, "p99") == pytest.approx(4 + 20.48)


def test_an_unknown_tier_is_named() -> None:
    with pytest.raises(ProfileError, match=r"one of \['w16', 'w4', 'w64'\], got 'w5'"):
        tiny_profile().latency_ms("w5", 1, "p50")


def test_measuring_runs_every_tier_at_every_size_in_turn_after_one_untimed_run() -> None:
    calls: list[tuple[str, int]] = []
    told: list[float] = []
    machine = describe_machine("1.32.0")
    profile = measure_profile(
        lambda tier, rows: calls.append((tier, rows)),
        ["a", "b"],
        machine=machine,
        threads=1,
        runs=3,
        batch_rows=(1, 2),
        progress=lambda task, done, total, detail: told.append(done / total),
    )
    rounds = [sorted(calls[start : start + 2]) for start in range(0, 8, 2)]
    assert rounds == [[("a", 1), ("b", 1)]] * 4
    assert len(calls) == 16
    assert told == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert {name: [point.rows for point in points] for name, points in profile.tiers.items()} == {
        "a": [1, 2],
        "b": [1, 2],
    }
    assert profile.machine.cores >= 1


def test_points_are_ordered() -> None:
    with pytest.raises(ValidationError, match="p50 <= p95 <= p99"):
        LatencyPoint(rows=1, p50_ms=2, p95_ms=1, p99_ms=3)
    profile = tiny_profile()
    with pytest.raises(ValidationError, match="must ascend"):
        type(profile).model_validate(profile.model_dump() | {"tiers": {"a": profile.tiers["w4"][::-1]}})
