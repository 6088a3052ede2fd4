"""`elastier frontier` on a run that was really trained: the files, the words, and what is refused."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from elastier_cli.frontier import frontier
from elastier_trainer.config_file import load_config
from elastier_trainer.errors import CheckpointError, ConfigError, DataError
from elastier_trainer.frontier.tiers_file import read_tiers
from elastier_trainer.run import run_training
from elastier_trainer.trained import load_trained
from support.small_run import SMALL_LADDER, write_small_run

FILES = ["evaluations.jsonl", "frontier.json", "frontier.png", "tiers.yaml"]
LADDER = [f"w{width}" for width in SMALL_LADDER]


@pytest.fixture(scope="module")
def mixed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that drew a width per block."""
    folder = tmp_path_factory.mktemp("mixed")
    run_training(load_config(write_small_run(folder, middle="per_block")), folder / "run")
    return folder / "run"


def search(run: Path, out: Path, *flags: str) -> Result:
    app = typer.Typer()
    app.command()(frontier)
    return CliRunner().invoke(app, [str(run), "--out", str(out), "--resamples", "20", *flags])


def test_all_files_are_written_and_the_terminal_says_what_counts(mixed_run: Path, tmp_path: Path) -> None:
    result = search(mixed_run, tmp_path / "front", "--evaluations", "12")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "front").iterdir()) == FILES
    assert (tmp_path / "front/frontier.png").read_bytes().startswith(b"\x89PNG")
    document = json.loads((tmp_path / "front/frontier.json").read_text())
    for words in (
        document["verdict"],
        "12 of 16 sub-models evaluated",
        "The interval is over rows, not over training seeds.",
        str(tmp_path / "front/tiers.yaml"),
    ):
        assert words in result.stdout
    for tier in document["tiers"]:
        assert tier["name"] in result.stdout


def test_figures_are_those_of_the_model_on_two_disjoint_halves(mixed_run: Path, tmp_path: Path) -> None:
    result = search(mixed_run, tmp_path, "--json", "--evaluations", "16")
    document, trained = json.loads(result.stdout), load_trained(mixed_run)
    assert document["choosing_rows"] + document["judging_rows"] == 100
    assert [step["name"] for step in document["ladder"]] == LADDER
    for step in document["ladder"]:
        whole = trained.record.validation[step["name"]]
        # The AUC of all rows lies about between those of the halves; both are real, neither is the whole.
        assert abs((step["choosing"] + step["judging"]) / 2 - whole) < 0.05
        assert step["cost"] == trained.model.flops_per_row(trained.ladder.students[step["name"]])
    assert document["mixes"] == "trained"
    assert document["reference"] == {"cost": document["ladder"][-1]["cost"], "quality": 0.5}


def test_tiers_are_a_file_that_the_models_ladder_is_read_from(mixed_run: Path, tmp_path: Path) -> None:
    result = search(mixed_run, tmp_path, "--json", "--tiers", "3")
    model = load_trained(mixed_run).model
    tiers = read_tiers(tmp_path / "tiers.yaml", model.full)
    assert list(tiers.names) == [tier["name"] for tier in json.loads(result.stdout)["tiers"]]
    assert len(tiers.names) == 3
    assert tiers.ta == model.full
    costs = [model.flops_per_row(tier) for tier in tiers.submodels]
    assert costs == sorted(costs)


def test_the_same_command_evaluates_nothing_again_and_says_the_same(mixed_run: Path, tmp_path: Path) -> None:
    first = search(mixed_run, tmp_path, "--json", "--evaluations", "10")
    lines = (tmp_path / "evaluations.jsonl").read_bytes()
    assert search(mixed_run, tmp_path, "--json", "--evaluations", "10").stdout == first.stdout
    assert (tmp_path / "evaluations.jsonl").read_bytes() == lines
    search(mixed_run, tmp_path, "--evaluations", "14")
    longer = (tmp_path / "evaluations.jsonl").read_bytes()
    assert longer.startswith(lines)
    assert (len(lines.splitlines()), len(longer.splitlines())) == (11, 15)


def test_a_run_without_mixes_is_told_so_and_searched_only_on_request(tmp_path: Path) -> None:
    run_training(load_config(write_small_run(tmp_path, steps=4)), tmp_path / "run")
    plain = json.loads(search(tmp_path / "run", tmp_path / "plain", "--json").stdout)
    assert plain["evaluations"] == 4
    assert plain["mixes"] == "not searched"
    assert "does not beat" in plain["verdict"]
    assert any("This run never trained a mix" in note for note in plain["notes"])
    asked = json.loads(search(tmp_path / "run", tmp_path / "asked", "--json", "--untrained").stdout)
    assert asked["evaluations"] == 16
    assert any("expect little" in note for note in asked["notes"])


def test_a_stop_keeps_evaluations_and_says_how_to_go_on(
    mixed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elastier_trainer.frontier.halves import Half

    evaluate: Callable[..., list[float]] = Half.evaluate

    def interrupted(half: Half, submodels: object) -> list[float]:
        os.kill(os.getpid(), 2)
        return evaluate(half, submodels)

    monkeypatch.setattr(Half, "evaluate", interrupted)
    result = search(mixed_run, tmp_path)
    assert result.exit_code == 130
    assert "the same command goes on" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["evaluations.jsonl"]
    kept = (tmp_path / "evaluations.jsonl").read_bytes()
    assert len(kept.splitlines()) == 5
    monkeypatch.undo()
    assert search(mixed_run, tmp_path).exit_code == 0
    assert (tmp_path / "evaluations.jsonl").read_bytes().startswith(kept)


def test_another_seeds_folder_is_refused(mixed_run: Path, tmp_path: Path) -> None:
    search(mixed_run, tmp_path, "--evaluations", "4")
    result = search(mixed_run, tmp_path, "--seed", "1")
    assert isinstance(result.exception, ConfigError)
    assert "found others (seed differ)" in str(result.exception)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--evaluations", "3"), "evaluations: expected at least 4"),
        (("--tiers", "1"), "tiers: expected at least 2"),
    ],
)
def test_what_makes_no_ladder_is_refused(
    mixed_run: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    result = search(mixed_run, tmp_path, *flags)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    result = search(tmp_path / "none", tmp_path / "front")
    assert isinstance(result.exception, CheckpointError)
    assert not (tmp_path / "front").exists()


def test_other_data_than_the_runs_are_refused(tmp_path: Path) -> None:
    run_training(load_config(write_small_run(tmp_path, steps=2)), tmp_path / "run")
    write_small_run(tmp_path, rows=900)
    result = search(tmp_path / "run", tmp_path / "front")
    assert isinstance(result.exception, DataError)
    assert "expected the data of the run" in str(result.exception)
    assert not (tmp_path / "front").exists()
