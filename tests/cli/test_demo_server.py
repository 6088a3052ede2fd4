"""The demo's server: a real process that answers inside the block, is gone after it, and says why it did not start."""

from pathlib import Path

import httpx
import pytest

from elastier_cli.demo.departures import Departures
from elastier_cli.demo.requests import send_requests
from elastier_cli.demo.server_process import ServerStartError, running_server
from elastier_contract.bundle import Bundle

DEPARTURES = Departures(
    {
        "carrier": ["AA"] * 16,
        "hour": [7] * 16,
        "distance": [733] * 16,
        "wind_speed": [9] * 16,
        "temperature": [57] * 16,
    }
)


@pytest.fixture(autouse=True)
def _profile_of_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTIER_REPROFILE", "never")


def test_the_server_is_ready_inside_the_block_and_gone_after_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    with running_server(tiny_bundle.path, port=0, log=log) as url:
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        answers = list(
            send_requests(url, tiny_bundle.manifest, DEPARTURES, budgets_ms=(1000.0, 2000.0), count=4, rows=2)
        )
        assert [outcome.tier for outcome in answers] == ["w64"] * 4
    assert log.exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/live")


def test_the_server_ends_with_a_block_that_fails(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        running_server(tiny_bundle.path, port=0, log=tmp_path / "log") as url,
    ):
        raise KeyboardInterrupt
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/live")


def test_a_missing_bundle_is_an_error_with_the_servers_last_line(tmp_path: Path) -> None:
    missing = tmp_path / "no-bundle"
    with (
        pytest.raises(
            ServerStartError, match=r"ended before it was ready: .*expected a bundle folder"
        ) as caught,
        running_server(missing, port=0, log=tmp_path / "server.log"),
    ):
        pytest.fail("the block must not run")
    assert str(missing) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_spoiled_bundle_is_an_error_that_names_the_file(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with tiny_bundle.weights_path.open("r+b") as file:
        file.write(b"\xff")
    with (
        pytest.raises(ServerStartError, match=r"weights\.bin: expected sha256"),
        running_server(tiny_bundle.path, port=0, log=tmp_path / "server.log"),
    ):
        pytest.fail("the block must not run")
