import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import onnxruntime
import pytest
import torch

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_model.py"
# Warnings of torch's exporter about itself.
NOISE = ("ignore:`isinstance.treespec, LeafSpec.` is deprecated", "ignore:# The axis name")
pytestmark = [pytest.mark.slow, *(pytest.mark.filterwarnings(message) for message in NOISE)]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_model", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown() -> str:
    return EXAMPLE.read_text().split("    # [the loop]\n")[1]


def test_every_student_learns_and_exports(example: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, y, x_test, y_test = example.split_digits()
    teacher = example.teacher_logits(x, y)
    model, ladder = example.train_and_export(x, y, teacher, tmp_path, steps=400)
    accuracy = example.accuracies(model, ladder, x_test, y_test)
    assert list(accuracy) == ["w8", "w32", "w128", "w256"]
    assert accuracy["w8"] > 0.75
    assert accuracy["w256"] > 0.92
    assert accuracy["w256"] > accuracy["w8"]
    logits = model.logits({"pixels": x_test}, ladder.submodels)
    for name, expected in zip(ladder.names, logits, strict=True):
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        (got,) = session.run(None, {"pixels": x_test.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), expected.detach(), rtol=0, atol=1e-4)


def test_the_example_takes_under_twenty_lines() -> None:
    assert len([line for line in shown().splitlines() if line.strip()]) < 20


def test_the_docs_show_the_example_that_is_tested() -> None:
    lines = [line.removeprefix("    ") for line in shown().splitlines()]
    code = "\n".join(lines).replace("  # type: ignore[no-untyped-call]", "")
    assert code in (ROOT / "docs" / "own-model.md").read_text()


def test_the_example_says_what_it_needs(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(sys, "argv", ["own_model.py"])
        example.main()
    assert "--out" in capsys.readouterr().err
