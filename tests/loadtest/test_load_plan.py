"""What is sent when: scenarios, payloads and plans."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from elastier_contract.bundle import Bundle
from elastier_loadtest.arrivals import PoissonArrivals
from elastier_loadtest.errors import ScenarioError
from elastier_loadtest.payloads import random_payloads, read_payloads
from elastier_loadtest.plan import Plan, make_plan
from elastier_loadtest.scenario import make_scenario

GOOD: dict[str, Any] = {"url": "http://127.0.0.1:1", "bundle": Path("b"), "rate": 10.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "127.0.0.1:8000"}, "expected a URL such as http://127.0.0.1:8000"),
        ({"rate": None}, "either a rate or a fraction"),
        ({"fraction_of_capacity": 0.5}, "either a rate or a fraction"),
        ({"bundle": None}, "a bundle to make payloads from, or a file"),
        ({"rate": 0.0}, "rate: Input should be greater than 0, got 0.0"),
        ({"rate": float("nan")}, "rate: Input should be"),
        ({"budgets_ms": (5.0, -1.0)}, "budgets_ms.1: Input should be greater than 0"),
        ({"budgets_ms": ()}, "budgets_ms"),
        ({"budgets_ms": (5.0, 5.0)}, "every budget once"),
        ({"rows": 0}, "rows: Input should be greater than 0"),
        ({"seconds": float("inf")}, "seconds: Input should be a finite number"),
        ({"connections": 5000}, "connections"),
    ],
)
def test_a_scenario_that_cannot_be_run_says_why(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        make_scenario(**GOOD | change)


def test_random_payloads_fit_the_signature(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    payloads = random_payloads(manifest, model="tiny", rows=5, seed=0)
    for payload in payloads:
        categorical, numeric = json.loads(payload.encode(3.0).content)["inputs"]
        assert categorical["shape"] == [5, 2]
        assert numeric["shape"] == [5, 3]
        limits = manifest.signature.inputs[0].limits
        assert limits is not None
        assert all(0 <= value < limits[index % 2] for index, value in enumerate(categorical["data"]))
        assert len(numeric["data"]) == 15
    distances = [value for p in payloads for value in p.body["inputs"][1]["data"][::3]]
    assert sum(distances) / len(distances) == pytest.approx(1000, abs=150)  # as the schema's column has it


def test_the_budget_goes_where_the_protocol_has_it(tmp_path: Path) -> None:
    file = tmp_path / "bodies.jsonl"
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 1], "data": [1.0, 2.0]}
    file.write_text(
        json.dumps({"rows": [{"a": 1}], "budget_ms": 99, "unit": "u1"})
        + "\n\n"
        + json.dumps({"inputs": [tensor], "parameters": {"priority": 3, "timeout": 1}})
    )
    plain, protocol = (payload.encode(2.5) for payload in read_payloads(file, model="m"))
    assert plain.path == "/v1/predict"
    assert json.loads(plain.content) == {"rows": [{"a": 1}], "budget_ms": 2.5, "unit": "u1"}
    assert protocol.path == "/v2/models/m/infer"
    assert json.loads(protocol.content)["parameters"] == {"priority": 3, "timeout": 2500}
    assert (plain.rows, protocol.rows) == (1, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "at least one payload"),
        ('{"rows": [{}]}\n{"rows": ', "line 2: expected a JSON object"),
        ("[1]", 'line 1: expected {"rows"'),
        ('{"rows": []}', 'line 1: expected {"rows"'),
        ('{"inputs": [{"name": "x"}]}', 'line 1: expected {"rows"'),
        ('{"inputs": [{"shape": [1, 2]}]}', "line 1: .* needs the name of its model"),
    ],
)
def test_a_bad_payload_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bodies.jsonl"
    file.write_text(content)
    with pytest.raises(ScenarioError, match=message):
        read_payloads(file, model=None)


def test_a_missing_payload_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"expected a JSON-lines file of payloads at .*absent"):
        read_payloads(tmp_path / "absent", model=None)


@pytest.fixture
def plan(tiny_bundle: Bundle) -> Plan:
    scenario = make_scenario(**GOOD | {"budgets_ms": (1.0, 3.0, 10.0)})
    return make_plan(scenario, tiny_bundle.manifest)


def test_every_budget_gets_an_equal_share_in_any_window(plan: Plan) -> None:
    budgets = Counter(body.budget_ms for body in islice(plan.choices(), 300))
    assert budgets == {1.0: 100, 3.0: 100, 10.0: 100}


def test_a_plan_ends_with_its_duration_and_repeats_with_its_seed(plan: Plan) -> None:
    arrivals = PoissonArrivals(rate=100)
    requests = list(plan.requests(arrivals, 2.0))
    assert 150 < len(requests) < 250
    assert requests[-1].offset_s < 2.0
    assert requests == list(plan.requests(arrivals, 2.0))
    assert requests != list(plan.requests(arrivals, 2.0, stream=1))
