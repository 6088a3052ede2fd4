"""Experiments on the way of a request: who is assigned, what that changes, and what is counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from elastier_contract.bundle import Bundle
from elastier_server.errors import OverloadedError
from elastier_server.experiment.config import load_experiments
from support.serving import INFER, PREDICT, AppClient, InferBody, Setup, client_of, fake_setup, good_rows

FILE = """
version: 1
experiments:
  - key: small-vs-large
    status: running
    arms:
      - {key: small, weight: 0.5, target: {tier: w4}}
      - {key: large, weight: 0.5, target: {min_tier: w16}}
"""
SMALL = {"experiment": "small-vs-large", "arm": "small"}
LARGE = {"experiment": "small-vs-large", "arm": "large"}


@pytest.fixture
def setup(tiny_bundle: Bundle, tmp_path: Path) -> Setup:
    path = tmp_path / "experiments.yaml"
    path.write_text(FILE)
    experiments = load_experiments(path, tiers=("w4", "w16", "w64"))
    return fake_setup(tiny_bundle, experiments=experiments)


@pytest.fixture
def client(setup: Setup) -> Iterator[AppClient]:
    with client_of(setup.app) as client:
        yield client


def _unit_of(client: AppClient, arm: str) -> str:
    for number in range(100):
        said = client.post(INFER, InferBody.of(1), headers={"X-Elastier-Unit": f"probe-{number}"}).json()
        if said["parameters"]["arm"] == arm:
            return f"probe-{number}"
    raise LookupError(f"no unit of 100 is in {arm}")


def _exposures(setup: Setup, arm: dict[str, str]) -> float:
    return setup.sample("elastier_exposures_total", {"model": "tiny", "version": "1", **arm})


def _arm_requests(setup: Setup, arm: dict[str, str], outcome: str) -> float:
    return setup.sample("elastier_arm_requests_total", {**arm, "outcome": outcome})


def test_the_arm_bounds_the_tiers_and_is_told(client: AppClient, setup: Setup) -> None:
    small, large = _unit_of(client, "small"), _unit_of(client, "large")
    setup.model.requests.clear()
    said = client.post(INFER, InferBody.of(1, unit=small)).json()["parameters"]
    assert (said["experiment"], said["arm"], said["tier"]) == ("small-vs-large", "small", "w4")
    said = client.post(PREDICT, {"rows": good_rows(1), "unit": large}).json()
    assert (said["experiment"], said["arm"], said["tier"]) == ("small-vs-large", "large", "w64")
    bounds = [(request.bounds.lowest, request.bounds.highest) for request in setup.model.requests]
    assert bounds == [(0, 0), (1, 2)]


def test_header_and_parameter_name_the_same_unit(client: AppClient) -> None:
    unit = _unit_of(client, "small")
    by_header = client.post(INFER, InferBody.of(1), headers={"X-Elastier-Unit": unit}).json()
    by_parameter = client.post(INFER, InferBody.of(1, unit=unit)).json()
    assert by_header["parameters"]["arm"] == by_parameter["parameters"]["arm"] == "small"


def test_a_request_without_a_unit_is_outside(client: AppClient) -> None:
    assert "arm" not in client.post(INFER, InferBody.of(1)).json()["parameters"]


@pytest.mark.parametrize("wish", [{"tier": "w64"}, {"min_tier": "w16"}, {"max_tier": "w16"}])
def test_a_request_that_bounds_its_tiers_is_outside(
    client: AppClient, setup: Setup, wish: dict[str, str]
) -> None:
    unit = _unit_of(client, "small")
    before = _exposures(setup, SMALL), _exposures(setup, LARGE)
    said = client.post(INFER, InferBody.of(1, unit=unit, **wish)).json()["parameters"]
    assert "arm" not in said
    assert (_exposures(setup, SMALL), _exposures(setup, LARGE)) == before


def test_a_unit_is_exposed_once_and_counted_by_request(client: AppClient, setup: Setup) -> None:
    unit = _unit_of(client, "large")
    exposed, answered = _exposures(setup, LARGE), _arm_requests(setup, LARGE, "met")
    for _ in range(3):
        client.post(INFER, InferBody.of(1, unit=unit, timeout=10_000_000))
    assert _exposures(setup, LARGE) == exposed
    assert _arm_requests(setup, LARGE, "met") == answered + 3


def test_a_shed_request_was_exposed_all_the_same(client: AppClient, setup: Setup) -> None:
    setup.model.error = OverloadedError("full", retry_after_s=1)
    for number in range(50):
        client.post(INFER, InferBody.of(1, unit=f"shed-{number}"))
    assert _exposures(setup, SMALL) + _exposures(setup, LARGE) == 50
    assert _arm_requests(setup, SMALL, "shed") + _arm_requests(setup, LARGE, "shed") == 50
