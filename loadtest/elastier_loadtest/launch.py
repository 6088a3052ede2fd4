"""Running a load test: look at the server, start the generator's process, sum up what it recorded."""

import http.client
import importlib.util
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote, urlsplit

from elastier_contract import atomic
from elastier_contract.bundle import open_bundle
from elastier_contract.manifest import Manifest
from elastier_contract.progress import Progress, no_progress
from elastier_loadtest.errors import (
    GeneratorError,
    LoadTestError,
    ServerMismatchError,
    ServerUnreachableError,
)
from elastier_loadtest.plan import make_plan
from elastier_loadtest.records import Outcome, Record
from elastier_loadtest.report import Report, build_report
from elastier_loadtest.scenario import Scenario

_PROBE_TIMEOUT_S = 10.0


def run_load_test(scenario: Scenario, progress: Progress = no_progress) -> tuple[Report, list[Record]]:
    """Run a load test against a running server; SIGINT ends it early, and what was found is returned.

    Returns:
        The report, and a record of every request in the order they were due, warm-up included.

    Raises:
        BundleError: The bundle cannot be read.
        ScenarioError: The payloads make no load test.
        ServerUnreachableError: Nothing answers at the URL.
        ServerMismatchError: The server is not ready, or does not serve the bundle.
        LoadTestError: The load could not be made; there was no capacity to take a share of, for example.
        GeneratorError: The generator's process ended without its records, or locust is not installed.
    """
    if importlib.util.find_spec("locust") is None:
        raise GeneratorError("expected locust to make the load with, found none: install elastier[loadtest]")
    manifest = open_bundle(scenario.bundle).manifest if scenario.bundle else None
    make_plan(scenario, manifest)  # what is wrong with the payloads is said before anything is sent
    look_at_server(scenario, manifest)
    outcome = _run_generator(scenario, progress)
    return build_report(scenario, outcome, manifest), outcome.records


def write_results(folder: Path, report: Report, records: list[Record]) -> None:
    """Write `report.json` and `requests.jsonl`, one line per request, into a folder."""
    lines = "".join(json.dumps(asdict(record)) + "\n" for record in records)
    atomic.write_file(folder / "requests.jsonl", lines.encode())
    atomic.write_file(folder / "report.json", report.model_dump_json(indent=1).encode())


def look_at_server(scenario: Scenario, manifest: Manifest | None) -> None:
    """Ask the server whether it is ready and serves the bundle.

    Raises:
        ServerUnreachableError: Nothing answers at the URL.
        ServerMismatchError: It is not ready, or serves another model or version.
    """
    status, _ = _get(scenario.url, "/v2/health/ready")
    if status != 200:
        raise ServerMismatchError(f"expected a ready server at {scenario.url}, got status {status}")
    model = scenario.model or (manifest.name if manifest else None)
    if model is None:
        return
    status, document = _get(scenario.url, f"/v2/models/{quote(model, safe='')}")
    if status != 200 or not isinstance(document, dict):
        raise ServerMismatchError(f"expected {scenario.url} to serve model {model!r}, got status {status}")
    versions = document.get("versions")
    if manifest is not None and versions is not None and manifest.version not in versions:
        raise ServerMismatchError(
            f"expected version {manifest.version!r} of {model!r}, the bundle's, but the server has {versions}"
        )


def _get(url: str, path: str) -> tuple[int, Any]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", parts.path + path)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ServerUnreachableError(
            f"expected a server at {url}, but GET {path} gave: {error or type(error).__name__}"
        ) from error
    finally:
        connection.close()
    try:
        return response.status, json.loads(content)
    except ValueError:
        return response.status, None


def _run_generator(scenario: Scenario, progress: Progress) -> Outcome:
    command = [sys.executable, "-m", "elastier_loadtest"]
    # A session of its own: Ctrl-C then reaches it through us alone, and once.
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as process,
        _interrupts_go_to(process),
    ):
        try:
            return _follow(process, scenario, progress)
        finally:
            process.kill()


def _follow(process: subprocess.Popen[str], scenario: Scenario, progress: Progress) -> Outcome:
    if process.stdin is None or process.stdout is None:
        raise GeneratorError("expected pipes to the generator's process, got none")
    with suppress(BrokenPipeError):  # it ended before it read: what it said is on stderr
        process.stdin.write(scenario.model_dump_json())
        process.stdin.close()
    for line in process.stdout:
        event = json.loads(line)
        if "progress" in event:
            progress(*event["progress"])
        elif "error" in event:
            raise LoadTestError(event["error"])
        else:
            return Outcome.from_json(event["outcome"])
    code = process.wait()
    if code == -signal.SIGINT:
        raise GeneratorError("interrupted before there was anything to report")
    raise GeneratorError(f"expected the generator's process to hand over its records, it ended with {code}")


@contextmanager
def _interrupts_go_to(process: subprocess.Popen[str]) -> Iterator[None]:
    """Pass the first SIGINT on, so that the load ends with its report; the second one ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    seen = 0

    def forward(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        process.send_signal(signal.SIGINT if seen == 1 else signal.SIGKILL)

    previous = signal.signal(signal.SIGINT, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
