"""What the smallest tier takes at best, and budgets as multiples of it."""

import json

import pytest
import typer
from typer.testing import CliRunner

from elastier_cli.loadtest import loadtest
from elastier_contract.bundle import Bundle
from elastier_contract.progress import no_progress
from elastier_loadtest.errors import ScenarioError, ServerMismatchError
from elastier_loadtest.pace import REQUESTS, WARM_UP_REQUESTS, smallest_tier_p95_ms
from elastier_loadtest.scenario import Scenario, make_scenario
from support.fake_server import Asked, Reply, fake_server


def scenario_for(url: str, bundle: Bundle | None) -> Scenario:
    return make_scenario(url=url, bundle=bundle.path if bundle else None, rate=1, rows=3, payloads="none")


def slow_at_first_then_one_in_ten_is_slow(asked: Asked) -> Reply:
    if asked.number < WARM_UP_REQUESTS:
        return Reply(tier="w4", server_ms=50.0)
    return Reply(tier="w4", server_ms=4.0 if asked.number % 10 == 0 else 1.0)


def test_the_pace_is_the_p95_of_the_smallest_tier_after_a_warm_up(tiny_bundle: Bundle) -> None:
    with fake_server(slow_at_first_then_one_in_ten_is_slow) as server:
        assert smallest_tier_p95_ms(scenario_for(server.url, tiny_bundle), no_progress) == 4.0
        assert len(server.asked) == REQUESTS
        assert {asked.body["parameters"]["tier"] for asked in server.asked} == {"w4"}
        assert {asked.rows for asked in server.asked} == {3}


def test_a_refusal_or_a_missing_bundle_is_an_error(tiny_bundle: Bundle) -> None:
    with fake_server(lambda asked: Reply(status=429)) as server:
        with pytest.raises(ServerMismatchError, match="expected an answer by tier 'w4', got status 429"):
            smallest_tier_p95_ms(scenario_for(server.url, tiny_bundle), no_progress)
        with pytest.raises(ScenarioError, match="expected a bundle"):
            smallest_tier_p95_ms(scenario_for(server.url, None), no_progress)


@pytest.mark.slow
def test_multiples_become_milliseconds_and_cannot_be_mixed_with_them(tiny_bundle: Bundle) -> None:
    app = typer.Typer()
    app.command()(loadtest)
    with fake_server(lambda asked: Reply(tier="w4", server_ms=2.0)) as server:
        command = [
            server.url,
            "--bundle",
            str(tiny_bundle.path),
            "--rate",
            "50",
            "--seconds",
            "0.5",
            "--json",
        ]
        result = CliRunner().invoke(app, [*command, "--budgets", "3x,10x"])
        assert [row["budget_ms"] for row in json.loads(result.stdout)["budgets"]] == [6.0, 20.0]
        mixed = CliRunner().invoke(app, [*command, "--budgets", "3x,10"])
    assert mixed.exit_code == 2
    assert "expected all in ms or all such as 3x" in mixed.output
