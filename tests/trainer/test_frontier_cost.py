"""Cost by measured latency: the parts that made a profile are found again, and what cannot tell is refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from elastier_contract.bundle import Bundle
from elastier_contract.profile import LatencyPoint, LatencyProfile
from elastier_contract.tier import Tier
from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.cost import fit_latency
from elastier_trainer.frontier.space import Space, space_of
from elastier_trainer.submodel import Ladder, Submodel
from support.mixes import UNIFORM, WIDTHS, uniform

BASE_MS, LAYER_MS, UNIT_MS = 0.2, 0.05, 0.001
DEEP = Ladder(students={"shallow": uniform(16, (0, 2)), "deep": uniform(128)})


def bundle_of(tiny: Bundle, submodels: Sequence[Submodel], *, noise: float = 0.0) -> Bundle:
    """The tiny bundle with other tiers, whose latency is a sum over blocks at 100 rows, twice that at 200."""
    rng = np.random.default_rng(0)
    tiers, points = [], {}
    for number, submodel in enumerate(submodels):
        kept = {"name": f"t{number}", "widths": submodel.widths, "layers": submodel.layers}
        tiers.append(Tier.model_validate(tiny.manifest.tiers[0].model_dump() | kept))
        ms = BASE_MS + LAYER_MS * len(submodel.layers) + UNIT_MS * sum(submodel.widths)
        ms *= 1 + noise * rng.standard_normal()
        points[f"t{number}"] = tuple(
            LatencyPoint(rows=rows, p50_ms=ms * rows / 100, p95_ms=ms * rows / 50, p99_ms=ms * rows / 25)
            for rows in (100, 200)
        )
    profile = LatencyProfile(machine=tiny.profile.machine, threads=1, runs=1, tiers=points)
    return replace(tiny, manifest=tiny.manifest.model_copy(update={"tiers": tuple(tiers)}), profile=profile)


def test_the_parts_of_an_additive_latency_are_found_and_foretell_a_mix(tiny_bundle: Bundle) -> None:
    tiers = [uniform(8, (0, 2)), uniform(64, (0, 1)), *UNIFORM.submodels]
    fitted = fit_latency(bundle_of(tiny_bundle, tiers), space_of(DEEP), rows=100)
    assert fitted.base_ms == pytest.approx(BASE_MS)
    assert fitted.layer_ms == pytest.approx(LAYER_MS)
    assert fitted.hidden_unit_ms == pytest.approx(UNIT_MS)
    assert fitted.of(Submodel(widths=(8, 128), layers=(1, 2), model_dim=16)) == pytest.approx(0.436)
    assert max(fitted.worst_error, fitted.left_out_error) < 1e-9


def test_with_one_depth_the_blocks_fixed_part_lies_in_the_base(tiny_bundle: Bundle) -> None:
    fitted = fit_latency(bundle_of(tiny_bundle, UNIFORM.submodels), space_of(UNIFORM), rows=200)
    assert fitted.layer_ms == 0
    assert fitted.base_ms == pytest.approx(2 * (BASE_MS + 3 * LAYER_MS))
    assert fitted.hidden_unit_ms == pytest.approx(2 * UNIT_MS)
    assert fitted.unit == "ms (p50, 200 rows)"
    assert (fitted.facts["tiers"], fitted.facts["rows"]) == (5, 200)


def test_the_fits_error_grows_with_the_noise_and_more_never_costs_less(tiny_bundle: Bundle) -> None:
    errors = []
    for noise in (0.01, 0.1, 0.5):
        fitted = fit_latency(
            bundle_of(tiny_bundle, UNIFORM.submodels, noise=noise), space_of(UNIFORM), rows=100
        )
        errors.append((fitted.worst_error, fitted.left_out_error))
        assert min(fitted.base_ms, fitted.layer_ms, fitted.hidden_unit_ms) >= 0
        assert fitted.of(uniform(128)) > 0
    assert errors == sorted(errors)
    assert 0 < errors[0][0] < 0.05 < errors[2][0]


@pytest.mark.parametrize(
    ("tiers", "space", "message"),
    [
        (
            UNIFORM.submodels[:-1],
            space_of(UNIFORM),
            r"expected a bundle of this run, whose TA has widths \[128, 128, 128\], got .* \[64, 64, 64\]",
        ),
        (UNIFORM.submodels[-3:], space_of(UNIFORM), "expected at least 4 tiers to fit a cost to, got 3"),
        (
            UNIFORM.submodels,
            space_of(DEEP),
            r"since \[2, 3\] layers are searched, got 3 layers in every tier",
        ),
        (
            UNIFORM.submodels,
            space_of(
                Ladder(
                    students={
                        "a": Submodel(widths=(8, 8, 8), layers=(0, 1, 2), model_dim=8),
                        "b": uniform(128),
                    }
                )
            ),
            r"expected one model dimension throughout, .* got \[8, 16\]",
        ),
    ],
)
def test_a_bundle_that_cannot_tell_is_refused(
    tiny_bundle: Bundle, tiers: Sequence[Submodel], space: Space, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_latency(bundle_of(tiny_bundle, tiers), space, rows=100)


def test_widths_that_the_bundle_has_no_tier_of_are_foretold_all_the_same(tiny_bundle: Bundle) -> None:
    tiers = [uniform(width) for width in WIDTHS if width != 32]
    fitted = fit_latency(bundle_of(tiny_bundle, tiers), space_of(UNIFORM), rows=100)
    assert fitted.of(uniform(32)) == pytest.approx(BASE_MS + 3 * LAYER_MS + 96 * UNIT_MS)
