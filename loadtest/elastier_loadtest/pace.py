"""How fast a server answers at its fastest: one caller, one request after another, the smallest tier.

A budget below a small multiple of this asks for the impossible, so budgets can be given as multiples of it.
"""

import http.client
import json
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np

from elastier_contract.bundle import open_bundle
from elastier_contract.progress import Progress
from elastier_loadtest.errors import ScenarioError, ServerMismatchError
from elastier_loadtest.payloads import RequestBody, random_payloads
from elastier_loadtest.scenario import Scenario

REQUESTS = 400
WARM_UP_REQUESTS = 50
_UNHURRIED_MS = 10_000.0


def smallest_tier_p95_ms(scenario: Scenario, progress: Progress) -> float:
    """The p95 of `server_ms` of the bundle's smallest tier, asked by one caller with nobody else there.

    Raises:
        ScenarioError: There is no bundle to know the tiers from.
        ServerMismatchError: An answer that is none, or not by that tier.
    """
    if scenario.bundle is None:
        raise ScenarioError("budgets such as 3x: expected a bundle, to know the smallest tier from, got none")
    manifest = open_bundle(scenario.bundle).manifest
    tier = manifest.tiers[0].name
    model = scenario.model or manifest.name
    bodies = []
    for payload in random_payloads(manifest, model=model, rows=scenario.rows, seed=scenario.seed):
        payload.body["parameters"] = {"tier": tier}
        bodies.append(payload.encode(_UNHURRIED_MS))
    taken_ms = []
    with closing(_connect(scenario)) as connection:
        for number in range(REQUESTS):
            taken_ms.append(_ask(connection, bodies[number % len(bodies)], tier))
            progress("pace", number + 1, REQUESTS, f"tier {tier}, {scenario.rows} rows")
    return float(np.quantile(taken_ms[WARM_UP_REQUESTS:], 0.95))


def _connect(scenario: Scenario) -> http.client.HTTPConnection:
    parts = urlsplit(scenario.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=scenario.timeout_s)


def _ask(connection: http.client.HTTPConnection, body: RequestBody, tier: str) -> float:
    """Send a request, and give the answer's `server_ms`."""
    connection.request("POST", body.path, body.content, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        raise ServerMismatchError(
            f"expected an answer by tier {tier!r}, got status {response.status}: {content.decode()}"
        )
    return float(json.loads(content)["parameters"]["server_ms"])
