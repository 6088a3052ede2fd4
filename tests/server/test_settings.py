"""Configuration: flags over environment over defaults, and a wrong one is named."""

import os
from pathlib import Path
from typing import Any

import pytest

from elastier_server.errors import SettingsError
from elastier_server.settings import load_settings

BUNDLE = Path("bundle")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("ELASTIER_"):
            monkeypatch.delenv(name)


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = load_settings(bundles=(BUNDLE,))
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_rows == 1024
    assert settings.max_budget_ms == 60_000


def test_the_environment_sets_what_no_flag_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTIER_BUNDLES", f"one{os.pathsep}two")
    monkeypatch.setenv("ELASTIER_PORT", "9000")
    monkeypatch.setenv("ELASTIER_BUDGET_CLASSES_MS", "2,20")
    monkeypatch.setenv("ELASTIER_HOST", "")
    settings = load_settings(port=9001, host=None)
    assert settings.bundles == (Path("one"), Path("two"))
    assert settings.port == 9001
    assert settings.host == "127.0.0.1"
    assert settings.budget_classes_ms == (2.0, 20.0)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"bundles": None}, "bundles: expected a value, got none"),
        ({"bundles": ()}, "bundles: "),
        ({"port": 70_000}, "port: Input should be less than or equal to 65535, got 70000"),
        ({"port": "http"}, "port: "),
        ({"default_budget_ms": 0}, "default_budget_ms: Input should be greater than 0, got 0"),
        ({"default_budget_ms": float("nan")}, "default_budget_ms: "),
        (
            {"default_budget_ms": 100, "max_budget_ms": 10},
            "default_budget_ms: expected at most max_budget_ms = 10, got 100",
        ),
        ({"drain_seconds": -1}, "drain_seconds: Input should be greater than or equal to 0, got -1"),
        ({"max_body_bytes": 0}, "max_body_bytes: "),
        ({"budget_classes_ms": (1, -1)}, "budget_classes_ms.1: "),
        ({"treads": 4}, "treads: Extra inputs are not permitted, got 4"),
    ],
)
def test_a_wrong_field_is_named(given: dict[str, Any], error: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{"bundles": (BUNDLE,)} | given)
    assert str(caught.value).startswith(error)


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTIER_PORT", "http")
    with pytest.raises(SettingsError, match=r"port: .* got 'http'"):
        load_settings(bundles=(BUNDLE,))
