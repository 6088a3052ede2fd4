"""The trainer's benchmark: both loops do the same work, and the figure follows what is timed."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from elastier_contract.progress import no_progress

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "trainer.py"
SMALL: dict[str, Any] = {
    "rows": 400,
    "category_sizes": (5, 3),
    "numbers": 2,
    "model_dim": 8,
    "ladder": (2, 4, 8, 16),
    "labelled_rows": 16,
    "unlabelled_rows": 48,
    "threads": 1,
}


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trainer_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def threads_stay_as_they_were() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_both_loops_end_with_the_same_weights_after_the_same_steps(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    setting = benchmark.Setting(**SMALL)
    found = benchmark.measure(
        setting, tmp_path, blocks=3, steps_per_block=5, clock="cpu", progress=no_progress
    )
    assert found["largest_difference"] < 1e-5
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21)), "a warm-up block and three"
    assert len({line["middle"] for line in lines}) > 1
    assert lines[-1]["loss"] != lines[0]["loss"]


def test_a_bare_loop_that_does_other_work_is_found_out(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = benchmark.make_plan

    def without_middle(*arguments: Any) -> Any:
        plan = whole(*arguments)
        for planned in plan:
            del planned.submodels[2:], planned.weights[2:]
        return plan

    monkeypatch.setattr(benchmark, "make_plan", without_middle)
    setting = benchmark.Setting(**SMALL)
    found = benchmark.measure(
        setting, tmp_path, blocks=1, steps_per_block=5, clock="cpu", progress=no_progress
    )
    assert found["largest_difference"] > 1e-3


def test_turns_alternate_and_the_first_pair_is_not_counted(benchmark: ModuleType) -> None:
    turns: list[str] = []
    now = [0.0]

    def loop() -> None:
        turns.append("loop")
        now[0] += 2.0

    def bare() -> None:
        turns.append("bare")
        now[0] += 1.0

    assert list(benchmark.alternate(loop, bare, lambda: now[0], blocks=3)) == [(2.0, 1.0)] * 3
    assert turns == ["bare", "loop", "loop", "bare"] * 2


def test_the_command_prints_one_json_document(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.main(["--blocks", "2", "--steps", "3", "--json"], benchmark.Setting(**SMALL))
    found = json.loads(capsys.readouterr().out)
    assert found["goal"] == 0.9
    assert found["ratio"] > 0
    assert (found["blocks"], found["steps_per_block"], found["threads"]) == (2, 3, 1)
