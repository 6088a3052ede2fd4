"""`elastier loadtest` and the locustfile, as they are typed."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from elastier_cli.loadtest import loadtest
from elastier_contract.bundle import Bundle
from elastier_loadtest.errors import ScenarioError, ServerUnreachableError
from support.fake_server import Asked, Reply, fake_server

LOCUSTFILE = Path(__file__).parents[2] / "loadtest" / "locustfile.py"


def typed(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(loadtest)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_help_teaches_by_example() -> None:
    result = typed("--help")
    assert result.exit_code == 0
    assert "--fraction-of-capacity 0.5" in result.stdout
    assert "Ctrl-C" in result.stdout


@pytest.mark.slow
def test_json_is_all_of_stdout_and_the_folder_has_every_request(tiny_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "results"
    with fake_server() as server:
        result = typed(
            server.url, "--bundle", tiny_bundle.path, "--rate", 100, "--budgets", "2,20", "--rows", 4,
            "--seconds", 1, "--warm-up", 0.2, "--json", "--out", out,
        )  # fmt: skip
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert [figures["budget_ms"] for figures in report["budgets"]] == [2.0, 20.0]
    assert report == json.loads((out / "report.json").read_text())
    records = [json.loads(line) for line in (out / "requests.jsonl").read_text().splitlines()]
    assert len(records) == len(server.asked) > report["overall"]["requests"] > 0
    assert {asked.rows for asked in server.asked} == {4}


@pytest.mark.slow
def test_wrong_answers_make_exit_code_one_and_the_table_says_which(tiny_bundle: Bundle) -> None:
    def lying(asked: Asked) -> Reply:
        return Reply(server_ms=99.0, met=True)

    with fake_server(lying) as server:
        result = typed(
            server.url, "--bundle", tiny_bundle.path, "--rate", 50, "--seconds", 0.5, "--warm-up", 0
        )
    assert result.exit_code == 1
    assert "deadline_met is true, but server_ms is above the budget" in result.stdout


def test_no_server_is_one_line_and_exit_code_two(tiny_bundle: Bundle) -> None:
    with fake_server() as server:
        pass
    result = typed(server.url, "--bundle", tiny_bundle.path, "--rate", 10)
    assert isinstance(result.exception, ServerUnreachableError)
    assert "\n" not in str(result.exception)
    assert result.exception.exit_code == 2
    assert result.stdout == ""


def test_wrong_options_are_said_before_anything_is_sent(tiny_bundle: Bundle) -> None:
    result = typed("http://127.0.0.1:1", "--bundle", tiny_bundle.path)
    assert isinstance(result.exception, ScenarioError)
    assert "either a rate or a fraction of capacity" in str(result.exception)
    budgets = typed("http://127.0.0.1:1", "--rate", 1, "--budgets", "1;3")
    assert budgets.exit_code == 2
    assert "expected milliseconds" in budgets.stderr


def locust(url: str, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        LOCUSTFILE,
        "--headless",
        "-u",
        1,
        "-H",
        url,
        "--json",
    ]
    return subprocess.run(
        [str(part) for part in (*command, *options)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_the_locustfile_offers_the_same_load(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with fake_server(lambda asked: Reply(status=429 if asked.budget_ms == 4 else 200)) as server:
        done = locust(
            server.url, tmp_path, "-t", "2s", "--bundle", tiny_bundle.path, "--rate", 100, "--budgets", "4,40"
        )
    assert done.returncode == 1, done.stderr  # locust counts refusals as failures
    found = {row["name"]: row for row in json.loads(done.stdout)}
    refused, answered = found["budget 4 ms"], found["budget 40 ms"]
    asked = Counter(asked.budget_ms for asked in server.asked)
    assert refused["num_failures"] == refused["num_requests"] == asked[4] > 10
    assert answered["num_requests"] == asked[40] >= asked[4] - 1
    assert answered["num_failures"] == 0


@pytest.mark.slow
def test_the_locustfile_stops_at_wrong_options(tmp_path: Path) -> None:
    with fake_server() as server:
        done = locust(server.url, tmp_path, "-t", "20s")
    assert "expected a bundle to make payloads from, or a file of payloads" in done.stderr
    assert done.returncode != 0
    assert server.asked == []
