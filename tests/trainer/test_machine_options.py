"""What a run may ask of the machine: half precision, a compiler, a GPU."""

import math
from pathlib import Path

import pytest
import torch

from elastier_trainer.config_file import load_config
from elastier_trainer.errors import ConfigError
from elastier_trainer.run import run_training
from support.small_run import read_metrics, write_small_run


def test_half_precision_takes_other_but_similar_steps(tmp_path: Path) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        config = load_config(write_small_run(folder, precision=precision, steps=8))
        lines = read_metrics(run_training(config, folder / "run").run)
        losses[precision] = [line["loss"] for line in lines]
    assert all(math.isfinite(loss) for loss in losses["bf16"])
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_asked_for_in_vain(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device: expected a CUDA device, found none"):
        run_training(load_config(write_small_run(tmp_path), {"device": "cuda"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_compiling_without_a_compiler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"compile: expected a C\+\+ compiler .*, found none"):
        run_training(load_config(write_small_run(tmp_path), {"compile": True}), tmp_path / "run")
