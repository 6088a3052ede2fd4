"""Torch modules and ONNX files teach, frozen, or are refused."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from onnx import TensorProto
from torch import Tensor

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import CheckpointError, ConfigError, DataError
from support.rows import some_rows, write_rows
from support.teachers import MODULE, TEACHER_SCHEMA, Ask, asking, write_onnx


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_rows(tmp_path, some_rows(), schema=TEACHER_SCHEMA)


@pytest.fixture
def dataset(files: tuple[Path, Path]) -> Dataset:
    return load_dataset(*files)


@pytest.fixture
def ask(dataset: Dataset, files: tuple[Path, Path]) -> Ask:
    return asking(dataset, *files)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The import path of a module that holds `MODULE`, its own in every test."""
    name = "teacher_of_" + re.sub(r"\W", "_", request.node.name)
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("teacher_columns", [True, False])
def test_a_module_answers_frozen_with_the_columns_it_asks_for(
    tmp_path: Path, files: tuple[Path, Path], ask: Ask, module: str, *, teacher_columns: bool
) -> None:
    safetensors.torch.save_file({"scale": torch.tensor([2.0])}, tmp_path / "w.safetensors")
    found = ask(
        {
            "module": f"{module}:Teacher",
            "weights": str(tmp_path / "w.safetensors"),
            "teacher_columns": teacher_columns,
        }
    )
    seen = load_dataset(*files, with_teacher_columns=teacher_columns)
    assert seen.features.columns[-1] == ("traffic" if teacher_columns else "wind")
    expected = 2 * seen.inputs["numeric"][:, -1] + seen.inputs["categorical"].sum(dim=1)
    assert torch.equal(found[:, 0], expected)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_weights_that_a_factory_draws_are_drawn_alike_and_cost_no_random_numbers(
    ask: Ask, module: str
) -> None:
    before = torch.random.get_rng_state()
    first, again = ask({"module": f"{module}:Teacher"}), ask({"module": f"{module}:Teacher"})
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_output_may_come_without_its_axis(ask: Ask, module: str) -> None:
    assert torch.equal(ask({"module": f"{module}:flat"}), ask({"module": f"{module}:Teacher"}))


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("wide", DataError, r"expected logits \[200, 1\], one per output of a binary task, got \[200, 3\]"),
        ("short", DataError, r"expected logits \[200, 1\], .* got \[199, 1\]"),
        ("whole", DataError, r"expected logits as .* floating-point numbers, got torch\.int64"),
        ("listed", DataError, "expected logits as .* floating-point numbers, got list"),
        ("infinite", DataError, r"expected finite logits, got \[inf\] at row 7 \(1 such rows"),
        ("nothing", ConfigError, r"expected the factory to return a torch\.nn\.Module, got a str"),
        ("Numeric", ConfigError, r"expected its forward to take .*\['categorical', 'numeric'\] by name"),
        ("number", ConfigError, "expected a factory 'number' in .*, found a int"),
        ("absent", ConfigError, "expected a factory 'absent' in .*, found nothing"),
    ],
)
def test_a_module_that_is_no_teacher_is_refused(
    ask: Ask, module: str, factory: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"module {module}:{factory}: {message}"):
        ask({"module": f"{module}:{factory}"})


def test_what_cannot_be_imported_is_an_error_of_the_config(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torn_teacher.py").write_text("def build(:\n")
    with pytest.raises(ConfigError, match="cannot import torn_teacher: invalid syntax"):
        ask({"module": "torn_teacher:build"})
    with pytest.raises(ConfigError, match=r"cannot import no_such\.teacher: No module named 'no_such'"):
        ask({"module": "no_such.teacher:build"})


@pytest.mark.parametrize("weights", [{"bias": torch.ones(1)}, {"scale": torch.ones(2)}, None])
def test_weights_of_another_module_are_refused(
    tmp_path: Path, ask: Ask, module: str, weights: dict[str, Tensor] | None
) -> None:
    if weights is not None:
        safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w\.safetensors: "):
        ask({"module": f"{module}:Teacher", "weights": str(tmp_path / "w.safetensors")})


@pytest.mark.parametrize("columns", [3, "columns"])
def test_an_onnx_file_answers_with_the_teachers_columns(
    tmp_path: Path, files: tuple[Path, Path], ask: Ask, columns: int | str
) -> None:
    write_onnx(tmp_path / "t.onnx", columns=columns, outputs=("other", "logits"))
    numbers = load_dataset(*files, with_teacher_columns=True).inputs["numeric"].numpy()
    found = ask({"onnx": str(tmp_path / "t.onnx")})
    assert found.dtype == torch.float32
    assert found.numpy() == pytest.approx(numbers @ [[1], [2], [3]], rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"columns": 2}, r"'numeric': expected any number of rows of 3 columns \(with teacher-only ones"),
        ({"rows": 200}, r"'numeric': expected any number of rows of 3 columns .* got shape \[200, 3\]"),
        ({"kind": TensorProto.DOUBLE}, r"'numeric': expected tensor\(float\), got tensor\(double\)"),
        ({"name": "x"}, r"expected inputs among \['categorical', 'numeric'\], got 'x'"),
        ({"outputs": ("a", "b")}, r"expected one output or one named 'logits', got \['a', 'b'\]"),
    ],
)
def test_another_signature_is_refused(tmp_path: Path, ask: Ask, shape: dict[str, Any], message: str) -> None:
    write_onnx(tmp_path / "t.onnx", **shape)
    with pytest.raises(ConfigError, match=message):
        ask({"onnx": str(tmp_path / "t.onnx")})


def test_an_onnx_file_that_sees_what_students_see_says_so(tmp_path: Path, dataset: Dataset, ask: Ask) -> None:
    write_onnx(tmp_path / "t.onnx", columns=2)
    found = ask({"onnx": str(tmp_path / "t.onnx"), "teacher_columns": False})
    assert found.numpy() == pytest.approx(dataset.inputs["numeric"].numpy() @ [[1], [2]], rel=1e-5)


def test_no_onnx_file_and_no_onnx_runtime_are_two_errors(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"t\.onnx: expected an ONNX file, found none"):
        ask({"onnx": str(tmp_path / "t.onnx")})
    (tmp_path / "t.onnx").write_text("not a graph")
    with pytest.raises(ConfigError, match=r"t\.onnx: expected an ONNX file, cannot open it"):
        ask({"onnx": str(tmp_path / "t.onnx")})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"needs onnxruntime, .*: pip install elastier\[export\]"):
        ask({"onnx": str(tmp_path / "t.onnx")})
