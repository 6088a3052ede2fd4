"""`elastier study` as a user runs it: real training, real processes, killed and stopped."""

import hashlib
import json
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from elastier_cli.study import app
from elastier_trainer.config_file import load_config
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import CheckpointError, ConfigError
from elastier_trainer.sampling import make_batches
from elastier_trainer.study.folder import study
from elastier_trainer.study.report import errors_of
from elastier_trainer.study.train import digest_batches, train_job
from elastier_trainer.teachers.source import CheckpointTeacher
from elastier_trainer.trained import load_trained
from support.fake_study import FakeTrainer, write_study
from support.small_run import write_small_run

COMMAND = (sys.executable, "-c", "from elastier_cli.study import app; app()")


def write_real_study(folder: Path, **changes: Any) -> Path:
    """Write a study of small real runs, with `changes` on top of its keys; returns its path."""
    base = yaml.safe_load(write_small_run(folder).read_text())
    document = {"name": "real", "base": base, "recipes": ["matta"], "optimizers": {"adamw": {}}, "seeds": [0]}
    (folder / "real.yaml").write_text(yaml.safe_dump(document | changes))
    return folder / "real.yaml"


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def wait_for_step(out: Path, process: subprocess.Popen[str], step: int) -> None:
    """Wait until a job of the study has taken that step."""
    while process.poll() is None:
        if any(len(path.read_bytes().splitlines()) >= step for path in out.glob("jobs/*/run/metrics.jsonl")):
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(f"the study ended before step {step}: {process.communicate()[1]}")


def saved_step(out: Path) -> int:
    """The step of the only job's checkpoint."""
    (path,) = out.glob("jobs/*/run/checkpoint/state.json")
    step: int = json.loads(path.read_text())["step"]
    return step


def study_json(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "study.json").read_text())
    return found


@pytest.mark.slow
def test_a_student_learns_from_a_ta_that_was_trained_by_itself(tmp_path: Path) -> None:
    recipes = ["alone", "separate_ta"]
    report = study(write_real_study(tmp_path, recipes=recipes), tmp_path / "out", train_job=train_job).report
    assert errors_of(report) == []
    runs = {(row["recipe"], row["width"]): row for row in report["runs"]}
    assert list(runs) == [("alone", 2), ("separate_ta", 16), ("separate_ta", 2)]
    assert all(0.5 < row["value"] < 1 for row in runs.values())
    assert runs["separate_ta", 2]["teacher_seconds"] == runs["separate_ta", 16]["train_seconds"]
    trained = load_trained(tmp_path / f"out/jobs/{runs['separate_ta', 2]['job']}/run")
    assert isinstance(trained.config.teacher, CheckpointTeacher)
    assert trained.config.teacher.checkpoint.parent.name == runs["separate_ta", 16]["job"]


@pytest.mark.slow
def test_digests_of_batches_are_those_of_their_row_ids(tmp_path: Path) -> None:
    config = load_config(write_small_run(tmp_path, steps=150))
    dataset = load_dataset(config.data, config.schema)
    found = digest_batches(config, dataset, 150)
    labelled = hashlib.sha256()
    for step in range(100, 150):
        batches = make_batches(
            dataset, None, labelled_rows=32, unlabelled_rows=0, labelled_fraction=0.2, seed=config.seed
        )
        labelled.update(batches.at(step).row_ids_R.numpy().tobytes())
    assert len(found.labelled) == len(found.unlabelled) == 2
    assert found.labelled[1] == labelled.hexdigest()
    assert found == digest_batches(replace(config, ladder=(16,)), dataset, 150)
    assert found.labelled != digest_batches(replace(config, seed=1), dataset, 150).labelled


@pytest.mark.slow
def test_ctrl_c_saves_the_job_and_a_study_that_was_killed_too_goes_on_to_the_same_end(tmp_path: Path) -> None:
    file, out = write_real_study(tmp_path), tmp_path / "out"
    document = yaml.safe_load(file.read_text())
    # Only a worker that was told to stop saves a checkpoint before the end.
    document["base"] |= {"steps": 400, "eval_every": 400, "checkpoint_every": 400}
    file.write_text(yaml.safe_dump(document))
    process = start(file, "--out", out)
    wait_for_step(out, process, 5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert study_json(out)["missing"] == ["matta/adamw/nested/seed0"]
    saved = saved_step(out)

    process = start(file, "--out", out)
    wait_for_step(out, process, saved + 5)
    process.kill()
    process.communicate()
    # Its worker holds the folder until it has saved.
    resumed = study(file, out, train_job=train_job).report
    (again,) = out.glob("jobs/*/run")
    steps = [json.loads(line)["step"] for line in (again / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 401))
    whole = study(file, tmp_path / "whole", train_job=train_job).report
    assert [row["value"] for row in resumed["runs"]] == [row["value"] for row in whole["runs"]]


@pytest.mark.slow
def test_a_job_that_fails_is_told_with_the_last_words_of_its_process(tmp_path: Path) -> None:
    hopeless = {"name": "hopeless", "recipe": "matta", "set": {"optimizer.lr": 1e30}}
    (error,) = errors_of(study(write_real_study(tmp_path, recipes=[hopeless]), tmp_path / "out").report)
    assert error.startswith("hopeless/adamw/nested/seed0 failed: step ")
    assert "expected a finite" in error
    assert "(exit status 1)" in error


@pytest.mark.slow
def test_mixes_are_searched_for_every_seed_and_told_with_an_interval(tmp_path: Path) -> None:
    mixed = {"name": "mixed", "recipe": "matta", "set": {"middle": "per_block"}}
    out = tmp_path / "out"
    study(write_real_study(tmp_path, recipes=[mixed], seeds=[0, 1]), out, train_job=train_job)
    searched = CliRunner().invoke(
        app, ["mixes", str(out), "--recipe", "mixed", "--evaluations", "8", "--json"], catch_exceptions=False
    )
    assert searched.exit_code == 0, searched.stderr
    (row,) = json.loads(searched.stdout)["mixes"]
    fronts = [json.loads(path.read_text()) for path in out.glob("jobs/*/frontier/frontier.json")]
    differences = [front["front_against_ladder"]["difference"] for front in fronts]
    assert {front["seed"] for front in fronts} == {0, 1}
    assert row["front"]["mean"] == pytest.approx(sum(differences) / 2)
    assert row["front"]["low"] < row["front"]["mean"] < row["front"]["high"]
    assert row["evaluations"] == [8, 8]
    assert "| mixed | adamw |" in (out / "study.md").read_text().partition("## Mix'n'Match")[2]


def test_mixes_of_a_recipe_that_is_not_nested_or_not_done_are_refused(tmp_path: Path) -> None:
    study(write_study(tmp_path), tmp_path / "out", train_job=FakeTrainer())
    result = CliRunner().invoke(app, ["mixes", str(tmp_path / "out"), "--recipe", "alone"])
    assert isinstance(result.exception, ConfigError)
    assert "expected a nested recipe of the study, one of ['matta']" in str(result.exception)
    gone = CliRunner().invoke(app, ["mixes", str(tmp_path / "out"), "--recipe", "matta"])
    assert isinstance(gone.exception, CheckpointError)
    assert "found its figures only" in str(gone.exception)


def test_the_report_command_prints_the_report_of_a_folder(tmp_path: Path) -> None:
    study(write_study(tmp_path), tmp_path / "out", train_job=FakeTrainer())
    result = CliRunner().invoke(app, ["report", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == study_json(tmp_path / "out")


def test_a_report_with_faults_is_printed_and_the_status_says_so(tmp_path: Path) -> None:
    odd = FakeTrainer(odd_rows=("matta/adamw/nested/seed2",))
    study(write_study(tmp_path), tmp_path / "out", train_job=odd)
    result = CliRunner().invoke(app, ["report", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "6 runs reported" in result.stdout
    assert "saw other labelled rows" in result.stderr


def test_help_shows_the_commands_and_an_example() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert "elastier study examples/studies/flights.yaml" in text
    assert {"run", "report", "mixes"} <= set(text.split())
