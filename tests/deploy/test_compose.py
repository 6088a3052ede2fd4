"""docker-compose.yml: valid by Compose itself, and every service locked down. No engine runs here."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from elastier_cli.loadtest import loadtest
from elastier_cli.train import train
from support.tools import ROOT, compose, run

SERVICES = ("server", "prometheus", "grafana", "locust", "trainer")
LONG_RUNNING = ("server", "prometheus", "grafana")


def config(*options: str) -> dict[str, Any]:
    done = run(compose(), *options, "--profile", "*", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = config("--env-file", ".env.example")["services"]
    return found


def test_compose_accepts_the_file_without_a_word() -> None:
    done = run(compose(), "config", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compose_refuses_a_file_with_a_misspelt_key(tmp_path: Path) -> None:
    text = (ROOT / "docker-compose.yml").read_text().replace("healthcheck:", "healthchek:", 1)
    (tmp_path / "docker-compose.yml").write_text(text)
    done = run(compose(), "config", "--quiet", cwd=tmp_path)
    assert done.returncode != 0
    assert "healthchek" in done.stderr


def test_the_example_settings_are_the_defaults() -> None:
    assert config("--env-file", ".env.example") == config("--env-file", "/dev/null")


def test_every_setting_of_the_file_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    named = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == named


def test_all_services_are_there_and_load_and_training_only_on_demand(services: dict[str, Any]) -> None:
    assert set(services) == set(SERVICES)
    assert {name: s["profiles"] for name, s in services.items() if "profiles" in s} == {
        "locust": ["load"],
        "trainer": ["train"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_unprivileged_read_only_and_limited(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert int(limits["memory"]) >= 2**29
    assert limits["pids"] > 0


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_writes_to_named_volumes_only_and_is_reached_from_this_machine_only(
    services: dict[str, Any], name: str
) -> None:
    for mount in services[name].get("volumes", ()):
        assert mount["type"] == "volume" or mount["read_only"] is True
    assert all(port["host_ip"] == "127.0.0.1" for port in services[name].get("ports", ()))


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_on_is_asked_whether_it_is_well(services: dict[str, Any], name: str) -> None:
    check = services[name]["healthcheck"]
    if name in LONG_RUNNING:
        assert check["test"][0] == "CMD"
    else:
        assert check["disable"] is True


def test_the_server_may_drain_before_it_is_killed(services: dict[str, Any]) -> None:
    server = services["server"]
    drain_s = float(server["environment"]["ELASTIER_DRAIN_SECONDS"])
    grace = re.fullmatch(r"(\d+)s", server["stop_grace_period"])
    assert grace
    assert drain_s < float(grace[1])


def test_the_folders_and_dockerfiles_of_this_repository_that_it_names_are_there(
    services: dict[str, Any],
) -> None:
    for service in services.values():
        for mount in service.get("volumes", ()):
            if mount["type"] == "bind" and "/deploy/" in mount["source"]:
                assert Path(mount["source"]).is_dir()
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize(("name", "command"), [("locust", loadtest), ("trainer", train)])
def test_the_command_of_a_service_is_one_that_elastier_has(
    services: dict[str, Any], name: str, command: Callable[..., None]
) -> None:
    first, *rest = services[name]["command"]
    assert first == command.__name__
    options = {option.partition("=")[0][2:].replace("-", "_") for option in rest if option.startswith("--")}
    assert options
    assert options <= set(inspect.signature(command).parameters)


def test_grafana_finds_prometheus_and_its_dashboards_where_compose_puts_them(
    services: dict[str, Any],
) -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    assert "url: http://prometheus:9090" in (provisioning / "datasources/prometheus.yml").read_text()
    targets = {mount["target"] for mount in services["grafana"]["volumes"]}
    assert "/etc/grafana/dashboards" in targets
    assert "path: /etc/grafana/dashboards" in (provisioning / "dashboards/elastier.yml").read_text()
