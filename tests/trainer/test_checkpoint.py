import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from elastier_trainer.checkpoint import load_trained
from elastier_trainer.config_file import load_config
from elastier_trainer.errors import CheckpointError, TrainerError
from elastier_trainer.folder import locked
from elastier_trainer.run import TrainReport, run_training
from support.small_run import read_metrics, write_small_run

STEPS = 24


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_small_run(tmp_path)


def start(config_file: Path, name: str, *, stop_at: int | None = None, **changes: Any) -> TrainReport:
    """Begin or resume with `changes` over the config; `stop_at` interrupts after so many steps."""
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    asked = iter(range(STEPS + 1))
    return run_training(
        load_config(config_file, overrides),
        config_file.parent / name,
        resume=True,
        stop=lambda: stop_at is not None and next(asked) >= stop_at,
    )


def assert_same_run(left: Path, right: Path) -> None:
    """Every weight, the optimizer's state and the losses are equal, bit for bit."""
    for file in (
        "model/model.safetensors",
        "checkpoint/model.safetensors",
        "checkpoint/optimizer.safetensors",
    ):
        tensors, others = (safetensors.torch.load_file(run / file) for run in (left, right))
        assert tensors.keys() == others.keys()
        for name in tensors:
            assert torch.equal(tensors[name], others[name]), (file, name)
    timeless = [
        [
            {key: value for key, value in line.items() if key != "rows_per_second"}
            for line in read_metrics(run)
        ]
        for run in (left, right)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("stop_at", [0, 1, 8, 13, 23])
def test_interrupted_and_resumed_is_bit_for_bit_uninterrupted(config_file: Path, stop_at: int) -> None:
    whole = start(config_file, "whole", checkpoint_every=STEPS)
    interrupted = start(config_file, "halves", stop_at=stop_at, checkpoint_every=STEPS)
    assert (interrupted.ending, interrupted.steps_taken) == ("interrupted", stop_at)
    assert not (interrupted.run / "model").exists()
    resumed = start(config_file, "halves", checkpoint_every=STEPS)
    assert (resumed.ending, resumed.resumed_at) == ("all steps", stop_at)
    assert_same_run(whole.run, resumed.run)


def test_many_interruptions_change_nothing(config_file: Path) -> None:
    whole = start(config_file, "whole", checkpoint_every=STEPS)
    while start(config_file, "pieces", stop_at=5, checkpoint_every=STEPS).ending == "interrupted":
        pass
    assert_same_run(whole.run, config_file.parent / "pieces")


def test_two_threads_resume_bit_for_bit(config_file: Path) -> None:
    whole = start(config_file, "whole", checkpoint_every=STEPS, threads=2)
    start(config_file, "halves", stop_at=11, checkpoint_every=STEPS, threads=2)
    resumed = start(config_file, "halves", checkpoint_every=STEPS, threads=2)
    assert_same_run(whole.run, resumed.run)


def test_an_early_stop_is_the_same_after_an_interruption(config_file: Path) -> None:
    changes: dict[str, Any] = {"eval_every": 1, "patience": 4, "optimizer__lr": 1e-9}
    whole = start(config_file, "whole", **changes)
    start(config_file, "halves", stop_at=4, **changes)
    resumed = start(config_file, "halves", **changes)
    assert whole.ending == resumed.ending == "early stop"
    assert whole.steps_taken == resumed.steps_taken
    assert load_trained(whole.run).record.step == load_trained(resumed.run).record.step


def test_lines_past_the_checkpoint_and_a_torn_line_are_dropped(config_file: Path) -> None:
    run = start(config_file, "run", stop_at=10).run
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 11, "loss": 1.0}\n{"step": 12, "lo')
    start(config_file, "run")
    assert [line["step"] for line in read_metrics(run)] == list(range(1, STEPS + 1))


def test_a_finished_run_is_refused_without_a_word_and_kept_with_resume(config_file: Path) -> None:
    config, run = load_config(config_file), config_file.parent / "run"
    first = run_training(config, run)
    before = (run / "model/model.safetensors").read_bytes()
    with pytest.raises(TrainerError, match="found a finished run; continue it with --resume or start over"):
        run_training(config, run)
    again = run_training(config, run, resume=True)
    assert (again.ending, again.validation) == ("finished before", first.validation)
    assert (run / "model/model.safetensors").read_bytes() == before


def test_an_unfinished_run_is_refused_without_a_word(config_file: Path) -> None:
    run = start(config_file, "run", stop_at=3).run
    with pytest.raises(TrainerError, match="found an unfinished run; continue it with --resume"):
        run_training(load_config(config_file), run)


def test_force_starts_over(config_file: Path) -> None:
    whole = start(config_file, "whole")
    run = start(config_file, "run", seed=9).run
    report = run_training(load_config(config_file), run, force=True)
    assert report.resumed_at == 0
    assert_same_run(whole.run, run)


def test_force_keeps_the_run_if_the_new_one_cannot_begin(config_file: Path) -> None:
    run = start(config_file, "run").run
    config = load_config(config_file, {"data": config_file.parent / "absent.parquet"})
    with pytest.raises(TrainerError, match="absent"):
        run_training(config, run, force=True)
    load_trained(run)


def test_a_checkpoint_of_another_config_is_refused_by_key(config_file: Path) -> None:
    start(config_file, "run", stop_at=3)
    with pytest.raises(CheckpointError, match=r"optimizer\.lr was 0\.01, is 0\.02\. Resume with what"):
        start(config_file, "run", optimizer__lr=0.02)


def test_a_checkpoint_of_other_data_is_refused(config_file: Path) -> None:
    start(config_file, "run", stop_at=3, teacher=None, objective__alpha=0.0)
    write_small_run(config_file.parent, rows=1001)
    with pytest.raises(CheckpointError, match="data sha256 was"):
        start(config_file, "run", teacher=None, objective__alpha=0.0)


def test_a_moved_folder_resumes(config_file: Path, tmp_path: Path) -> None:
    start(config_file, "run", stop_at=3)
    (tmp_path / "moved").mkdir()
    for path in list(tmp_path.iterdir()):
        if path.name != "moved":
            path.rename(tmp_path / "moved" / path.name)
    report = start(tmp_path / "moved/config.yaml", "run")
    assert report.resumed_at == 3


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "best.safetensors"]
)
def test_a_damaged_checkpoint_is_named(config_file: Path, file: str) -> None:
    run = start(config_file, "run", stop_at=10).run
    path = run / "checkpoint" / file
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=file):
        start(config_file, "run")


def test_two_trainers_in_one_folder_the_second_is_refused(config_file: Path) -> None:
    run = config_file.parent / "run"
    with locked(run), pytest.raises(TrainerError, match="another trainer works in this folder"):
        run_training(load_config(config_file), run, force=True)
    assert run_training(load_config(config_file), run).ending == "all steps"


def test_a_trained_model_knows_where_it_comes_from(config_file: Path) -> None:
    run = run_training(load_config(config_file), config_file.parent / "run", command="elastier train").run
    trained = load_trained(run)
    assert [student.widths for student in trained.ladder.submodels] == [(2, 2), (4, 4), (8, 8), (16, 16)]
    assert (trained.data, trained.schema) == (
        config_file.parent / "data.parquet",
        config_file.parent / "schema.yaml",
    )
    assert (trained.command, trained.seed, len(trained.data_sha256)) == ("elastier train", 0, 64)
    assert trained.versions["torch"] == torch.__version__
    assert not trained.model.training


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.json", None, r"expected a finished training run at .*run, found no model/model\.json"),
        ("model.json", b"{", r"model\.json: not a record of a trained model"),
        ("model.json", b'{"features": {}}', r"model\.json: not a record of a trained model"),
        ("model.safetensors", None, r"model\.safetensors: expected weights in safetensors"),
        ("model.safetensors", b"\x80\x04", r"model\.safetensors: expected weights in safetensors"),
    ],
)
def test_a_damaged_model_is_named(config_file: Path, file: str, content: bytes | None, message: str) -> None:
    run = run_training(load_config(config_file), config_file.parent / "run").run
    path = run / "model" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_trained(run)


def test_weights_of_another_model_are_refused(config_file: Path) -> None:
    run = run_training(load_config(config_file), config_file.parent / "run").run
    record = json.loads((run / "model/model.json").read_text())
    record["config"]["model"]["model_dim"] = 4
    (run / "model/model.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="weights of another model"):
        load_trained(run)
