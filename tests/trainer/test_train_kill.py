"""Real processes, killed at chosen moments: nothing is lost that was saved, and nothing is in the way."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from elastier_trainer.checkpoint import load_trained
from elastier_trainer.config_file import load_config
from elastier_trainer.run import run_training
from support.small_run import read_metrics, write_small_run

STEPS = 24

# Holds the trainer where the test wants it: after a line of metrics, or before a folder takes its place.
HELD = """
import sys, time
from pathlib import Path
from elastier_contract import atomic
from elastier_trainer import folder
from elastier_trainer.config_file import load_config
from elastier_trainer.run import run_training

moment, config, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])

def hold():
    print("held", flush=True)
    sys.stdin.read()

log, sync = folder.FolderJournal.log, atomic._sync_tree

def held_log(self, record):
    log(self, record)
    if moment == f"step {record['step']}":
        hold()

def held_sync(root):
    if moment == "staging " + root.name.split(".")[1]:
        hold()
    sync(root)

folder.FolderJournal.log = held_log
atomic._sync_tree = held_sync
run_training(load_config(config), out, resume=True)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody interrupted."""
    config_file = write_small_run(tmp_path_factory.mktemp("whole"))
    return run_training(load_config(config_file), config_file.parent / "run").run


def kill_at(moment: str, config_file: Path, run: Path) -> None:
    """Start a trainer and kill it, without mercy, when it stands at that moment."""
    command = [sys.executable, "-c", HELD, moment, str(config_file), str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_where_an_uninterrupted_one_does(
    whole: Path, tmp_path: Path
) -> None:
    config_file, run = write_small_run(tmp_path), tmp_path / "run"
    moments = ("step 3", "staging checkpoint", "step 15", "staging model")
    for moment in moments:
        kill_at(moment, config_file, run)
        assert not (run / "model").exists()
    report = run_training(load_config(config_file), run, resume=True)
    assert report.resumed_at == 20
    weights, expected = (load_trained(path).model.state_dict() for path in (run, whole))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    state, expected = (
        safetensors.torch.load_file(p / "checkpoint/optimizer.safetensors") for p in (run, whole)
    )
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert [line["step"] for line in read_metrics(run)] == list(range(1, STEPS + 1))
    assert not list(run.glob(".*staging*"))
