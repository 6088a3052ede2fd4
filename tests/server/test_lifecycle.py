"""A server as a process: it drains on a signal, outlives clients that leave, and refuses bad ground."""

import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from elastier_contract.bundle import Bundle
from support.processes import ServerProcess, run_to_end, server_process
from support.serving import INFER, InferBody

pytestmark = pytest.mark.slow

BODY = InferBody.of(1, timeout=10_000_000)
DRAINING = {"error": "the server is shutting down and takes no more requests"}


@pytest.fixture
def slow_server(tiny_bundle: Bundle) -> Iterator[ServerProcess]:
    with server_process(["-m", "support.slow_server", str(tiny_bundle.path), "20"]) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def _post(server: ServerProcess) -> Callable[[], httpx.Response]:
    return lambda: httpx.post(server.url + INFER, json=BODY, timeout=30)


def _until(condition: Callable[[], bool]) -> None:
    """Ask again until it is so; every question is a round trip to the server, and the number is bounded."""
    for _ in range(2000):
        if condition():
            return
    raise TimeoutError("expected a condition to become true, it did not")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_request_finish(
    slow_server: ServerProcess, pool: ThreadPoolExecutor, number: signal.Signals
) -> None:
    running = pool.submit(_post(slow_server))
    assert slow_server.read_line() == "waiting"
    slow_server.process.send_signal(number)
    _until(lambda: httpx.get(slow_server.url + "/v2/health/ready").status_code == 503)
    assert httpx.get(slow_server.url + "/v2/health/live").status_code == 200
    refused = _post(slow_server)()
    assert (refused.status_code, refused.json()) == (503, DRAINING)
    assert refused.headers["retry-after"] == "1"
    shed = 'elastier_shed_total{model="tiny",reason="draining",version="1"} 1.0'
    assert shed in httpx.get(slow_server.url + "/metrics").text
    assert not running.done()
    slow_server.process.send_signal(signal.SIGUSR1)
    assert running.result().status_code == 200
    assert slow_server.wait() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(slow_server.url)


def test_a_request_that_outlasts_the_drain_is_answered_with_503(
    tiny_bundle: Bundle, pool: ThreadPoolExecutor
) -> None:
    with server_process(["-m", "support.slow_server", str(tiny_bundle.path), "0.2"]) as server:
        running = pool.submit(_post(server))
        assert server.read_line() == "waiting"
        server.process.send_signal(signal.SIGTERM)
        answer = running.result()
        assert answer.status_code == 503
        assert answer.json() == {"error": "the server was stopped before it had an answer"}
        assert server.wait() == 0


def test_a_second_signal_does_not_wait(slow_server: ServerProcess, pool: ThreadPoolExecutor) -> None:
    running = pool.submit(_post(slow_server))
    assert slow_server.read_line() == "waiting"
    slow_server.process.send_signal(signal.SIGTERM)
    _until(lambda: httpx.get(slow_server.url + "/v2/health/ready").status_code == 503)
    slow_server.process.send_signal(signal.SIGTERM)
    assert running.result().status_code == 503
    assert slow_server.wait() == 0


def test_an_idle_server_stops_at_once(slow_server: ServerProcess) -> None:
    with httpx.Client() as client:  # a connection that is kept alive does not hold the server up
        assert client.get(slow_server.url + "/v2/health/ready").status_code == 200
        slow_server.process.send_signal(signal.SIGTERM)
        assert slow_server.wait() == 0


def test_a_client_that_leaves_is_counted_and_the_next_is_served(
    slow_server: ServerProcess, pool: ThreadPoolExecutor
) -> None:
    address = urlsplit(slow_server.url)
    body = json.dumps(BODY).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: server\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((address.hostname, address.port)) as leaving:
        leaving.sendall(head + body)
        assert slow_server.read_line() == "waiting"
    cancelled = 'elastier_requests_total{model="tiny",outcome="cancelled",tier="none",version="1"} 1.0'
    _until(lambda: cancelled in httpx.get(slow_server.url + "/metrics").text)
    staying = pool.submit(_post(slow_server))
    assert slow_server.read_line() == "waiting"
    slow_server.process.send_signal(signal.SIGUSR1)
    assert staying.result().status_code == 200


def test_a_killed_server_starts_again_on_its_port(tiny_bundle: Bundle) -> None:
    serve = ["-m", "elastier_cli", "serve", str(tiny_bundle.path), "--port"]
    with server_process([*serve, "0"]) as first, httpx.Client() as client:
        assert client.post(first.url + INFER, json=BODY).status_code == 200
        first.process.kill()
        assert first.wait() == -signal.SIGKILL
        with server_process([*serve, str(urlsplit(first.url).port)]) as second:
            assert second.url == first.url
            assert httpx.post(second.url + INFER, json=BODY).status_code == 200


def _refusal(*arguments: str) -> subprocess.CompletedProcess[str]:
    ended = run_to_end(["-m", "elastier_cli", "serve", "--port", "0", *arguments])
    assert ended.stdout == ""
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    return ended


def test_a_missing_bundle_is_one_line(tmp_path: Path) -> None:
    ended = _refusal(str(tmp_path / "nowhere"))
    assert ended.returncode == 1
    assert "expected a bundle folder at" in ended.stderr


def test_a_truncated_bundle_is_named(tiny_bundle: Bundle) -> None:
    with tiny_bundle.weights_path.open("r+b") as file:
        file.truncate(100)
    ended = _refusal(str(tiny_bundle.path))
    assert ended.returncode == 1
    assert "weights.bin: expected" in ended.stderr
    assert "found 100" in ended.stderr


def test_a_tampered_bundle_is_named(tiny_bundle: Bundle) -> None:
    content = bytearray(tiny_bundle.weights_path.read_bytes())
    content[0] ^= 1
    tiny_bundle.weights_path.write_bytes(content)
    ended = _refusal(str(tiny_bundle.path))
    assert ended.returncode == 1
    assert "weights.bin: expected sha256" in ended.stderr


def test_the_same_version_twice_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(tiny_bundle.path, twin)
    ended = _refusal(str(tiny_bundle.path), str(twin))
    assert ended.returncode == 2
    assert "are both model 'tiny' version '1'" in ended.stderr


def test_a_broken_experiments_file_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text("version: 1\nexperiments: [{key: a, status: running, arms: []}]\n")
    ended = _refusal(str(tiny_bundle.path), "--experiments", str(path))
    assert ended.returncode == 2
    assert "experiments.yaml:2" in ended.stderr


def test_an_arm_that_no_model_can_serve_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    arms = "[{key: x, weight: 0.5, target: {tier: w4}}, {key: y, weight: 0.5, target: {tier: w5}}]"
    path.write_text(f"version: 1\nexperiments: [{{key: a, status: running, arms: {arms}}}]\n")
    ended = _refusal(str(tiny_bundle.path), "--experiments", str(path))
    assert ended.returncode == 2
    assert "got 'w5'" in ended.stderr


def test_a_wrong_setting_is_named(tiny_bundle: Bundle) -> None:
    ended = _refusal(str(tiny_bundle.path), "--default-budget-ms", "-1")
    assert ended.returncode == 2
    assert "default_budget_ms: Input should be greater than 0, got -1.0" in ended.stderr


def test_a_port_in_use_is_named(tiny_bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_to_end(["-m", "elastier_cli", "serve", str(tiny_bundle.path), "--port", str(port)])
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
