import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from elastier_cli.train import stop_on_signal, train
from elastier_contract.errors import ElastierError
from elastier_trainer.checkpoint import load_trained
from elastier_trainer.errors import ConfigError, TrainerError
from elastier_trainer.teachers.source import LogitsFile
from support.small_run import SMALL_LADDER, read_metrics, write_small_run

ENDLESS = """
import sys, typer
from elastier_cli.train import train
app = typer.Typer()
app.command()(train)
app(sys.argv[1:])
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_small_run(tmp_path)


def elastier_train(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, ElastierError):
        raise result.exception
    return result


def test_a_config_file_trains_and_shows_every_width(config_file: Path, tmp_path: Path) -> None:
    result = elastier_train("--config", config_file, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    for width in SMALL_LADDER:
        assert f"│ w{width}" in result.stdout
    assert "best by validation auc, mean over the ladder" in result.stdout
    assert load_trained(tmp_path / "run").ladder.ta.widths == (16, 16)


def test_flags_alone_train_and_json_is_one_document(config_file: Path, tmp_path: Path) -> None:
    result = elastier_train(
        *("--data", tmp_path / "data.parquet", "--schema", tmp_path / "schema.yaml"),
        *("--teacher", tmp_path / "teacher.parquet", "--out", tmp_path / "run", "--steps", 3, "--seed", 4),
        *("--widths", "2,4", "--set", "model.model_dim=8", "--set", "threads=1", "--json"),
    )
    document = json.loads(result.stdout)
    assert (document["ending"], document["steps_taken"]) == ("all steps", 3)
    assert set(document["validation"]) == {"w2", "w4"}
    assert load_trained(tmp_path / "run").seed == 4


def test_flags_go_over_the_file(config_file: Path, tmp_path: Path) -> None:
    elastier_train(
        "--config", config_file, "--out", tmp_path / "run", "--steps", 2, "--set", "objective.alpha=0.5"
    )
    config = load_trained(tmp_path / "run").config
    assert (config.steps, config.objective.alpha, config.model.model_dim) == (2, 0.5, 8)


def test_a_finished_run_says_how_to_go_on(config_file: Path, tmp_path: Path) -> None:
    arguments = ("--config", config_file, "--out", tmp_path / "run")
    elastier_train(*arguments)
    with pytest.raises(TrainerError, match="continue it with --resume or start over with --force"):
        elastier_train(*arguments)
    assert "finished before" in elastier_train(*arguments, "--resume").stdout
    assert elastier_train(*arguments, "--force").exit_code == 0


def test_resume_needs_only_the_folder(config_file: Path, tmp_path: Path) -> None:
    elastier_train("--config", config_file, "--out", tmp_path / "run")
    assert "finished before" in elastier_train("--resume", "--out", tmp_path / "run").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume", "--force"), "give one of them"),
        (("--widths", "8,x"), "expected numbers like 8,16,32, got '8,x'"),
        (("--set", "steps"), "expected KEY=VALUE, got 'steps'"),
        (("--set", "steps=[1"), "expected a YAML value, got '[1'"),
        (("--kind", "teacher"), "expected --data and --schema, or --config with both"),
        (("--kind", "teacher", "--steps", "3"), "--kind teacher takes"),
        (("--kind", "student"), "'student' is not one of 'matta', 'teacher'"),
    ],
)
def test_wrong_flags_are_explained(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = elastier_train("--out", tmp_path / "run", *arguments)
    assert result.exit_code == 2
    told = " ".join(result.stderr.replace("│", " ").split())
    assert message in told
    assert not (tmp_path / "run").exists()


def test_without_data_the_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="the command line: data: expected a value, got none; schema: expected"
    ):
        elastier_train("--out", tmp_path / "run", "--resume")


def test_a_teacher_is_trained_from_the_same_file_and_its_logits_train_a_run(
    config_file: Path, tmp_path: Path
) -> None:
    result = elastier_train(
        *("--kind", "teacher", "--config", config_file, "--out", tmp_path / "teacher", "--json"),
        *("--set", "trees=5", "--set", "leaves=4", "--set", "folds=2", "--set", "threads=1"),
    )
    document = json.loads(result.stdout)
    assert 0.5 < document["quality"]["validation"]["value"] < 1
    trained = elastier_train(
        "--config", config_file, "--teacher", document["logits"], "--out", tmp_path / "run", "--steps", 2
    )
    assert trained.exit_code == 0
    teacher = load_trained(tmp_path / "run").config.teacher
    assert isinstance(teacher, LogitsFile)
    assert str(teacher.logits) == document["logits"]


def test_an_unknown_key_of_a_teacher_is_refused(config_file: Path, tmp_path: Path) -> None:
    result = elastier_train(
        "--kind", "teacher", "--config", config_file, "--out", tmp_path / "t", "--set", "branches=5"
    )
    assert result.exit_code == 2
    assert "branches" in result.stderr


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    steps = 1_000_000
    config_file, run = write_small_run(tmp_path, steps=steps, checkpoint_every=steps), tmp_path / "run"
    command = [sys.executable, "-c", ENDLESS, "--config", str(config_file), "--out", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (run / "metrics.jsonl").exists() or not (run / "metrics.jsonl").read_bytes():
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"expected a trainer at work, it ended with {process.wait(timeout=0.05)}")
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    taken = read_metrics(run)[-1]["step"]
    assert f"stopped at step {taken} of {steps}, state saved; go on with" in told
    assert f"elastier train --resume --out {run}" in told
    assert json.loads((run / "checkpoint/state.json").read_text())["step"] == taken


def test_the_first_signal_asks_and_the_second_acts_as_before() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with stop_on_signal() as stop:
            assert not stop()
            signal.raise_signal(signal.SIGTERM)
            assert stop()
            assert not heard
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
