"""`elastier profile`, and what `elastier inspect` draws and verifies."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elastier_cli.main import app
from elastier_contract.bundle import SEALED, Bundle, open_bundle
from elastier_contract.errors import BundleCorruptError
from elastier_contract.profile import LatencyPoint, LatencyProfile, uneven_points
from elastier_trainer.frontier.pareto import Point, pareto_front
from support.bundles import redigest

PNG = b"\x89PNG"


def test_a_profile_is_measured_anew_and_put_into_the_bundle(tiny_bundle: Bundle) -> None:
    weights = tiny_bundle.weights_path.read_bytes()
    result = CliRunner().invoke(app, ["profile", str(tiny_bundle.path), "--runs", "3", "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    again = open_bundle(tiny_bundle.path)
    assert again.profile == LatencyProfile.model_validate_json(json.dumps(document["profile"]))
    assert again.profile.runs == 3
    assert again.profile.machine != tiny_bundle.profile.machine
    sealed = {name: getattr(tiny_bundle.manifest, name) for name in SEALED}
    assert again.manifest.model_copy(update=sealed) == tiny_bundle.manifest
    assert again.weights_path.read_bytes() == weights
    assert again.weights_path.stat().st_nlink == 1  # the old bundle is gone


def test_a_profile_is_only_printed_if_asked_to(tiny_bundle: Bundle) -> None:
    result = CliRunner().invoke(app, ["profile", str(tiny_bundle.path), "--runs", "1", "--keep"])
    assert result.exit_code == 0
    assert "latency by rows of a request" in result.stdout
    assert open_bundle(tiny_bundle.path).profile == tiny_bundle.profile


def points(*medians_ms: float) -> tuple[LatencyPoint, ...]:
    return tuple(
        LatencyPoint(rows=8**index, p50_ms=ms, p95_ms=9, p99_ms=9) for index, ms in enumerate(medians_ms)
    )


def test_points_that_are_not_isotonic_are_told(tiny_bundle: Bundle) -> None:
    profile = tiny_bundle.profile.model_copy(
        update={"tiers": {"small": points(1.0, 0.98, 3.0), "large": points(2.0, 0.8, 4.0)}}
    )
    assert uneven_points(profile, ["small", "large"]) == [
        "large: 8 rows take 0.800 ms, 1 take 2.000",
        "8 rows: large takes 0.800 ms, the cheaper small 0.980",
    ]
    assert uneven_points(tiny_bundle.profile, [tier.name for tier in tiny_bundle.manifest.tiers]) == []


@pytest.mark.parametrize(("name", "start"), [("tiers.png", PNG), ("tiers.svg", b"<?xml"), ("T.PDF", b"%PDF")])
def test_tiers_are_drawn(tiny_bundle: Bundle, tmp_path: Path, name: str, start: bytes) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tiny_bundle.path), "--plot", str(tmp_path / name)])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / name).read_bytes().startswith(start)


def test_another_format_is_refused_before_any_work(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tmp_path), "--plot", "tiers.bmp"])
    assert result.exit_code == 2
    assert "png, svg, pdf" in " ".join(result.stderr.split())


def test_the_front_holds_what_no_faster_tier_equals() -> None:
    tiers = [(3.0, 0.8), (1.0, 0.6), (2.0, 0.6), (4.0, 0.7), (1.0, 0.5)]
    assert pareto_front([Point(*tier) for tier in tiers]) == [1, 0]


def test_verifying_opens_every_tier(tiny_bundle: Bundle) -> None:
    arguments = ["inspect", str(tiny_bundle.path), "--verify", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert json.loads(result.stdout)["verified"] == {"files": 5, "tiers": 3, "weights_shared": True}
    (tiny_bundle.path / "tiers/w16.onnx").write_bytes(b"no graph")
    redigest(tiny_bundle.path)
    assert CliRunner().invoke(app, arguments[:2]).exit_code == 0
    spoiled = CliRunner().invoke(app, arguments)
    assert isinstance(spoiled.exception, BundleCorruptError)
    assert "tiers/w16.onnx" in str(spoiled.exception)
