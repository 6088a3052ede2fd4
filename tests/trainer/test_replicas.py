"""Two processes that train one model take the steps of one process with the same global batch."""

from pathlib import Path

import pytest
import torch

from elastier_trainer.config_file import load_config
from elastier_trainer.run import run_training
from elastier_trainer.trained import load_trained
from support.processes import run_to_end
from support.small_run import read_metrics, write_small_run

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "elastier_cli"]


def test_two_processes_train_as_one_with_the_same_command(tmp_path: Path) -> None:
    config_file = write_small_run(tmp_path, steps=12, eval_every=6)
    alone = run_training(load_config(config_file), tmp_path / "alone")
    train = ["train", "--config", str(config_file), "--out", str(tmp_path / "both")]
    finished = run_to_end([*TORCHRUN, *train], timeout_s=120)
    assert finished.returncode == 0, finished.stderr
    one, two = read_metrics(alone.run), read_metrics(tmp_path / "both")
    assert [line["step"] for line in two] == list(range(1, 13))
    for ours, theirs in zip(two, one, strict=True):
        for name in ("loss", "ta_task", "student_ta", "middle_teacher", "grad_norm"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6)
    weights = [load_trained(run).model.state_dict() for run in (alone.run, tmp_path / "both")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-3, atol=1e-4)


def test_a_batch_that_two_processes_cannot_share_is_refused_in_words(tmp_path: Path) -> None:
    config_file = write_small_run(tmp_path, labelled_rows=31)
    train = ["train", "--config", str(config_file), "--out", str(tmp_path / "both")]
    finished = run_to_end([*TORCHRUN, *train], timeout_s=120)
    assert finished.returncode != 0
    assert "error: labelled_rows: expected a multiple of 2 processes, got 31" in finished.stderr
    assert not (tmp_path / "both/model").exists()
