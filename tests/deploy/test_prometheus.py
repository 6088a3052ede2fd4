"""Prometheus's configuration and recording rules, by its own promtool."""

import shutil
from pathlib import Path

import pytest

from support.tools import ROOT, promtool, run

FOLDER = ROOT / "deploy/prometheus"
TEST = "rules/tests/elastier.test.yml"


def test_promtool_accepts_the_configuration_and_finds_the_rules() -> None:
    done = run(promtool(), "check", "config", "prometheus.yml", cwd=FOLDER)
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_promtool_accepts_the_rules() -> None:
    done = run(promtool(), "check", "rules", "--lint-fatal", "rules/elastier.rules.yml", cwd=FOLDER)
    assert done.returncode == 0, done.stderr


def test_the_rules_compute_what_their_tests_say() -> None:
    done = run(promtool(), "test", "rules", TEST, cwd=FOLDER)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('outcome!~"invalid|cancelled"', 'outcome!~"cancelled"'),
        ("* max by (model, version, tier)", "* sum by (model, version, tier)"),
        ('outcome="shed"', 'outcome="expired|shed"'),
        ("max by (experiment, arm)", "sum by (experiment, arm)"),
    ],
)
def test_the_rules_tests_notice_a_wrong_rule(tmp_path: Path, right: str, wrong: str) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "rules/elastier.rules.yml"
    text = rules.read_text()
    assert right in text
    rules.write_text(text.replace(right, wrong))
    assert run(promtool(), "test", "rules", TEST, cwd=tmp_path).returncode != 0
