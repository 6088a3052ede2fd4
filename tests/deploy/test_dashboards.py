"""Dashboards: what is committed is what the code builds, and every query asks for metrics that exist."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from elastier_server.metrics import Metrics
from support.tools import ROOT, promtool, run

FOLDER = ROOT / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboards/tiers.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = yaml.safe_load((ROOT / "deploy/prometheus/rules/elastier.rules.yml").read_text())["groups"]
RECORDED = {rule["record"] for group in RULES for rule in group["rules"]}
_METRIC = re.compile(r"[a-z_:]*elastier_[a-z0-9_:]+")


def served() -> set[str]:
    """Names of all that the server's own `Metrics` exposes."""
    registry = CollectorRegistry()
    Metrics(registry, budgets_ms=[10.0], version="0")
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {family.name + end for family in registry.collect() for end in suffixes[family.type]}


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_the_committed_dashboards_are_what_the_code_builds(tmp_path: Path) -> None:
    done = run(sys.executable, str(FOLDER / "build_dashboards.py"), str(tmp_path))
    assert done.returncode == 0, done.stderr
    built = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (FOLDER / "dashboards").iterdir()}
    assert built == committed, "run `make dashboards`"


def test_every_panel_is_a_question_with_a_unit_and_a_description() -> None:
    for panel in PANELS:
        assert panel["title"].endswith("?")
        assert len(panel["description"]) > 20
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_ids_and_query_letters_are_unique_and_panels_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & covered
        covered |= cells


def test_models_and_experiments_can_be_chosen() -> None:
    variables = {entry["name"]: entry["query"] for entry in DASHBOARD["templating"]["list"]}
    assert variables == {
        "model": "label_values(elastier_model_ready, model)",
        "experiment": "label_values(elastier_arm_weight, experiment)",
    }


def test_every_query_asks_the_provisioned_prometheus() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_only_for_metrics_that_the_server_or_a_rule_has(query: str) -> None:
    asked = set(_METRIC.findall(query))
    assert asked
    assert asked <= served() | RECORDED


@pytest.mark.parametrize(
    "rule", [rule for group in RULES for rule in group["rules"]], ids=lambda r: r["record"]
)
def test_a_rule_asks_only_for_metrics_that_the_server_or_a_rule_has(rule: dict[str, str]) -> None:
    assert set(_METRIC.findall(rule["expr"])) <= served() | RECORDED


def test_every_query_parses_as_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": re.sub(r"\$__rate_interval", "1m", query).replace("$", "")}
        for number, query in enumerate(queries())
    ]
    document = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "queries.yml").write_text(yaml.safe_dump(document))
    done = run(promtool(), "check", "rules", "queries.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries())} rules found" in done.stdout
