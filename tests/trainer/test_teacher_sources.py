"""Any kind of teacher, one answer: its logits of all rows, or why there are none."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.teachers.answer import teacher_logits
from elastier_trainer.teachers.digest import source_digest
from elastier_trainer.teachers.logits import write_logits
from elastier_trainer.teachers.source import (
    CheckpointTeacher,
    EnsembleTeacher,
    LogitsFile,
    ModuleTeacher,
    OnnxTeacher,
    TeacherSource,
    dump_source,
    parse_source,
    resolve_document,
    resolve_source,
)
from support.rows import some_rows, write_rows
from support.teachers import MODULE, TEACHER_SCHEMA, Ask, asking, write_onnx

DOCS = Path(__file__).parents[2] / "docs/teachers.md"

SOURCES: list[tuple[Any, TeacherSource]] = [
    ("a/l.parquet", LogitsFile(logits=Path("/here/a/l.parquet"))),
    ({"logits": "../l.csv"}, LogitsFile(logits=Path("/l.csv"))),
    ({"checkpoint": "run", "student": "w8"}, CheckpointTeacher(checkpoint=Path("/here/run"), student="w8")),
    (
        {"module": "a.b:c", "weights": "w.safetensors"},
        ModuleTeacher(module="a.b:c", weights=Path("/here/w.safetensors")),
    ),
    ({"onnx": "/t.onnx", "teacher_columns": False}, OnnxTeacher(onnx=Path("/t.onnx"), teacher_columns=False)),
    (
        {"ensemble": ["l.csv", {"ensemble": [{"onnx": "t.onnx"}]}], "weights": [1, 3]},
        EnsembleTeacher(
            ensemble=(
                LogitsFile(logits=Path("/here/l.csv")),
                EnsembleTeacher(ensemble=(OnnxTeacher(onnx=Path("/here/t.onnx")),)),
            ),
            weights=(1.0, 3.0),
        ),
    ),
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return write_rows(tmp_path, some_rows(), schema=TEACHER_SCHEMA)


@pytest.fixture
def dataset(files: tuple[Path, Path]) -> Dataset:
    return load_dataset(*files)


@pytest.fixture
def ask(dataset: Dataset, files: tuple[Path, Path]) -> Ask:
    return asking(dataset, *files)


@pytest.mark.parametrize(("document", "expected"), SOURCES)
def test_a_source_is_told_by_its_key_and_its_paths_by_the_file_it_stands_in(
    document: Any, expected: TeacherSource
) -> None:
    found = parse_source(resolve_document(document, Path("/here")))
    assert found == expected
    moved = dump_source(found, relative_to=Path("/here/deeper"))
    assert parse_source(resolve_document(moved, Path("/here/deeper"))) == expected
    assert resolve_source(parse_source(moved), Path("/here/deeper")) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (3, "teacher: expected a path, or a mapping with one of the keys logits, checkpoint, .*, got 3"),
        ({}, r"teacher: expected a path, or .*, got \{\}"),
        ({"logits": "a", "onnx": "b"}, "teacher: expected a path, or a mapping with one of the keys"),
        ({"module": "a.b"}, r"teacher\.module\.module: String should match pattern .*, got 'a.b'"),
        (
            {"module": "a:b", "weights": "w.pt"},
            r"weights: expected a file ending in \.safetensors, got w\.pt$",
        ),
        ({"onnx": "a", "layers": 3}, r"teacher\.onnx\.layers: Unexpected keyword argument, got 3"),
        ({"ensemble": []}, "teacher.ensemble: expected at least one member, got none"),
        ({"ensemble": ["a"], "weights": [1, 2]}, "weights: expected one per member, 1, got 2"),
        ({"ensemble": ["a"], "weights": [0]}, r"weights\.0: Input should be greater than 0, got 0"),
        ({"ensemble": ["a", {"onnx": 1}]}, r"ensemble\.1\.onnx\.onnx: .* path .*, got 1"),
    ],
)
def test_a_wrong_source_is_named_by_its_key(document: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_source(document)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


def test_the_page_on_teachers_shows_every_kind_as_it_is_read() -> None:
    kinds = {type(parse_source(yaml.safe_load(block)["teacher"])) for block in blocks("yaml")}
    assert kinds == {LogitsFile, CheckpointTeacher, ModuleTeacher, OnnxTeacher, EnsembleTeacher}


def test_the_module_on_the_page_teaches(tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page_teacher.py").write_text(blocks("python")[0])
    monkeypatch.chdir(tmp_path)
    assert ask({"module": "page_teacher:build"}).shape == (200, 1)
    assert str(tmp_path) not in sys.path


def test_a_file_may_hold_more_rows_than_the_data(tmp_path: Path, dataset: Dataset, ask: Ask) -> None:
    ids = torch.cat([torch.tensor([-5]), dataset.row_ids_R.flip(0)])
    write_logits(tmp_path / "l.parquet", ids, ids.float(), teacher="other", data_sha256="")
    assert torch.equal(ask(str(tmp_path / "l.parquet")), dataset.row_ids_R.float().unsqueeze(1))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The import path of a module that holds `MODULE`, its own in every test."""
    name = "teacher_of_" + re.sub(r"\W", "_", request.node.name)
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_an_ensemble_is_the_weighted_mean_of_its_members_logits(
    tmp_path: Path, files: tuple[Path, Path], dataset: Dataset, module: str
) -> None:
    for name, sign in (("a", 1), ("b", -2)):
        logits = sign * dataset.row_ids_R.float()
        write_logits(tmp_path / f"{name}.parquet", dataset.row_ids_R, logits, teacher=name, data_sha256="")
    told: list[tuple[float, float]] = []
    document = {
        "ensemble": [
            str(tmp_path / "a.parquet"),
            {"ensemble": [str(tmp_path / "b.parquet"), {"module": f"{module}:Teacher"}], "weights": [1, 3]},
        ],
        "weights": [6, 2],
    }
    data, schema = files
    one = teacher_logits(parse_source({"module": f"{module}:Teacher"}), dataset, data=data, schema=schema)
    found = teacher_logits(
        parse_source(document),
        dataset,
        data=data,
        schema=schema,
        progress=lambda task, done, total, detail: told.append((done, total)),
    )
    ids = dataset.row_ids_R.unsqueeze(1)
    assert found.numpy() == pytest.approx((0.75 * ids + 0.25 * (0.25 * -2 * ids + 0.75 * one)).numpy())
    assert all(done <= total for done, total in told)
    assert told[-1] == (1, 1)
    assert told == sorted(told, key=lambda moment: moment[0] / moment[1])


def test_a_data_file_that_changed_since_it_was_read_is_noticed(tmp_path: Path, ask: Ask, module: str) -> None:
    write_rows(tmp_path, some_rows(199), schema=TEACHER_SCHEMA)
    with pytest.raises(DataError, match=r"expected the 200 rows of the data set, found 199 .* it changed"):
        ask({"module": f"{module}:Teacher"})


def test_a_digest_follows_every_file_and_setting_but_no_place(tmp_path: Path, module: str) -> None:
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        write_onnx(folder / "t.onnx", external=True)
        (folder / "l.csv").write_text("row_id,logit\n1,2\n")
        safetensors.torch.save_file({"scale": torch.ones(1)}, folder / "w.safetensors")
    document = {
        "ensemble": [
            "l.csv",
            {"onnx": "t.onnx"},
            {"module": f"{module}:Teacher", "weights": "w.safetensors"},
        ]
    }

    def digest(folder: str, document: Any = document) -> str:
        return source_digest(parse_source(resolve_document(document, tmp_path / folder)))

    before = digest("here")
    assert re.fullmatch("[0-9a-f]{64}", before)
    assert digest("there") == before
    assert digest("here", document | {"weights": [5, 5, 5]}) == before
    assert digest("here", document | {"weights": [1, 5, 5]}) != before
    changed = [tmp_path / "there" / name for name in ("l.csv", "t.onnx.data", "t.onnx", "w.safetensors")]
    for path in (*changed, tmp_path / f"{module}.py"):
        held = path.read_bytes()
        place = held.index(b"teacher") if path.name == "t.onnx" else 1
        path.write_bytes(held[:place] + b"#" + held[place + 1 :])
        assert digest("there") != before, path
        path.write_bytes(held)
    assert digest("there") == before


def test_a_file_that_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    for document in ("l.csv", {"checkpoint": "run"}, {"onnx": "t.onnx"}):
        source = parse_source(resolve_document(document, tmp_path))
        with pytest.raises(ConfigError, match=re.escape(str(tmp_path))):
            source_digest(source)
    (tmp_path / "t.onnx").write_text("not a graph")
    with pytest.raises(ConfigError, match=r"t\.onnx: expected an ONNX file, cannot open it"):
        source_digest(OnnxTeacher(onnx=tmp_path / "t.onnx"))
