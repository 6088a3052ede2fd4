import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from elastier_exporter.session import open_session, run_rows

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_model.py"
pytestmark = pytest.mark.slow


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


def test_every_student_learns_and_answers_from_the_bundle(example: ModuleType, tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = example.train_and_export(tmp_path / "digits", steps=250)
    tiers = bundle.manifest.tiers
    assert [tier.name for tier in tiers] == ["w8", "w64", "w256"]
    assert tiers[0].quality.value > 0.7
    assert tiers[2].quality.value > 0.92
    assert tiers[2].quality.value > tiers[0].quality.value
    _, _, x_test, y_test = example.split_digits()
    for tier in tiers:
        session = open_session(bundle.path, tier.graph, bundle.manifest.layout, threads=1)
        logits_RC = run_rows(session, {"pixels": x_test.numpy()})
        assert (logits_RC.argmax(axis=1) == y_test.numpy()).mean() == pytest.approx(
            tier.quality.value, abs=2e-3
        )


def test_the_example_takes_under_twenty_lines() -> None:
    assert len([line for line in shown().splitlines() if line.strip()]) < 20


def test_the_docs_show_the_example_that_is_tested() -> None:
    lines = [line.removeprefix("    ") for line in shown().splitlines()]
    code = (
        "\n".join(lines).replace("  # type: ignore[no-untyped-call]", "").replace("return export", "export")
    )
    assert code in (ROOT / "docs" / "own-model.md").read_text()
