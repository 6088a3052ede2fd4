"""A teacher knows more than its students, but nothing of the row it speaks about."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.metrics import auc
from elastier_trainer.teachers.answer import teacher_logits
from elastier_trainer.teachers.lightgbm import TeacherConfig, TeacherReport, train_teacher
from elastier_trainer.teachers.logits import read_logits
from elastier_trainer.teachers.source import LogitsFile
from support.rows import SCHEMA, some_rows, write_rows

TEACHER_SCHEMA = SCHEMA + "teacher_only: {categorical: [gate], numeric: [traffic]}\n"
CONFIG = TeacherConfig(trees=30, leaves=7, folds=3, threads=1)


def taught(
    folder: Path, *, rows: dict[str, Any] | None = None, schema: str = TEACHER_SCHEMA
) -> TeacherReport:
    data, schema_file = write_rows(folder, rows or some_rows(3000), schema=schema)
    return train_teacher(data, schema_file, folder / "teacher", config=CONFIG)


def test_a_student_reads_the_logits_of_a_teacher_that_saw_more(tmp_path: Path) -> None:
    report = taught(tmp_path)
    students = load_dataset(tmp_path / "rows.parquet", tmp_path / "rows.schema.yaml")
    logits_R = read_logits(report.logits, students.row_ids_R, outputs=1, data_sha256=students.sha256)[:, 0]
    for split, rows in students.splits.items():
        assert report.quality[split].value == pytest.approx(auc(logits_R[rows], students.labels_R[rows]))
    (tmp_path / "blind").mkdir()
    blind = taught(tmp_path / "blind", schema=SCHEMA)
    assert report.quality["test"].low > blind.quality["test"].value


def test_a_teacher_that_sees_no_more_than_its_students_is_one_by_the_plain_schema(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, some_rows(600), schema=TEACHER_SCHEMA)
    alike = train_teacher(data, schema, tmp_path / "alike", config=replace(CONFIG, teacher_columns=False))
    (tmp_path / "plain").mkdir()
    plain = taught(tmp_path / "plain", rows=some_rows(600), schema=SCHEMA)
    assert alike.quality == plain.quality


def test_a_training_row_is_judged_by_a_model_that_never_saw_its_label(tmp_path: Path) -> None:
    # Labels by chance alone: whoever has seen a row's label can repeat it, whoever has not can only guess.
    rows = some_rows(3000) | {"late": np.random.default_rng(5).integers(0, 2, 3000)}
    report = taught(tmp_path, rows=rows)
    train = report.quality["train"]
    assert train.low < 0.5 < train.high
    model = lgb.Booster(model_file=tmp_path / "teacher/fold-0.txt")
    dataset = load_dataset(
        tmp_path / "rows.parquet", tmp_path / "rows.schema.yaml", with_teacher_columns=True
    )
    table = np.concatenate([tensor.numpy() for tensor in dataset.inputs.values()], axis=1)
    train_rows = dataset.splits["train"].numpy()
    assert auc(model.predict(table[train_rows]), dataset.labels_R[train_rows]) > 0.6


def test_other_rows_get_the_mean_logit_of_the_folds(tmp_path: Path) -> None:
    report = taught(tmp_path)
    dataset = load_dataset(
        tmp_path / "rows.parquet", tmp_path / "rows.schema.yaml", with_teacher_columns=True
    )
    table = np.concatenate([tensor.numpy() for tensor in dataset.inputs.values()], axis=1)
    models = [lgb.Booster(model_file=path) for path in sorted(report.folder.glob("fold-*.txt"))]
    test = dataset.splits["test"]
    expected = np.mean([model.predict(table[test.numpy()], raw_score=True) for model in models], axis=0)
    found = read_logits(report.logits, dataset.row_ids_R, outputs=1, data_sha256=None)[test, 0]
    assert len(models) == 3
    assert found.numpy() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_classes_are_taught_by_a_logit_each(tmp_path: Path) -> None:
    columns = some_rows(1500)
    columns["late"] = np.digitize(columns["wind"] + columns["traffic"], [6, 14])
    schema = TEACHER_SCHEMA.replace("label: late", "label: {name: late, kind: multiclass}")
    report = taught(tmp_path, rows=columns, schema=schema)
    students = load_dataset(tmp_path / "rows.parquet", tmp_path / "rows.schema.yaml")
    logits = read_logits(report.logits, students.row_ids_R, outputs=3, data_sha256=students.sha256)
    train = students.splits["train"]
    right = (logits[train].argmax(dim=1) == students.labels_R[train]).float().mean().item()
    assert report.metric == "accuracy"
    assert report.quality["train"].value == pytest.approx(right)
    assert report.quality["test"].low > students.task.chance
    models = [lgb.Booster(model_file=path) for path in sorted(report.folder.glob("fold-*.txt"))]
    assert {model.num_model_per_iteration() for model in models} == {3}
    assert json.loads((tmp_path / "teacher/report.json").read_text())["accuracy"]["test"]["rows"] == 300


def test_a_regression_is_taught_in_the_labels_unit(tmp_path: Path) -> None:
    columns = some_rows(1500)
    columns["late"] = 500 + 30 * columns["wind"] + 90 * columns["traffic"]
    schema = TEACHER_SCHEMA.replace("label: late", "label: {name: late, kind: regression}")
    report = taught(tmp_path, rows=columns, schema=schema)
    students = load_dataset(tmp_path / "rows.parquet", tmp_path / "rows.schema.yaml")
    minutes = read_logits(report.logits, students.row_ids_R, outputs=1, data_sha256=students.sha256)[:, 0]
    test = students.splits["test"]
    assert minutes.mean().item() == pytest.approx(800, rel=0.05)
    error = (minutes[test] - students.labels_R[test]).var() / students.labels_R[test].var()
    assert report.metric == "r2"
    assert report.quality["test"].value == pytest.approx(1 - error.item(), abs=0.02)
    assert report.quality["test"].value > 0.7
    source = LogitsFile(logits=report.logits)
    outputs = teacher_logits(
        source, students, data=tmp_path / "rows.parquet", schema=tmp_path / "rows.schema.yaml"
    )
    assert students.task.evaluate(outputs[test], students.labels_R[test]) == report.quality["test"]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_a_row_without_a_label_is_answered_but_teaches_nothing(tmp_path: Path, kind: str) -> None:
    columns = some_rows(400)
    schema = SCHEMA.replace("label: late", f"label: {{name: late, kind: {kind}}}") + "unlabelled: keep\n"
    columns["late"] = [None if row % 4 == 0 else int(late) for row, late in enumerate(columns["late"])]
    report = taught(tmp_path, rows=columns, schema=schema)
    students = load_dataset(tmp_path / "rows.parquet", tmp_path / "rows.schema.yaml")
    outputs = students.task.outputs
    logits = read_logits(report.logits, students.row_ids_R, outputs=outputs, data_sha256=None)
    assert len(logits) == 400
    known = students.labelled(students.splits["train"])
    assert report.quality["train"].rows == len(known) < len(students.splits["train"])

    models = [lgb.Booster(model_file=path) for path in report.folder.glob("fold-*.txt")]
    roots = [model.dump_model()["tree_info"][0]["tree_structure"] for model in models]
    assert sum(root["internal_count"] for root in roots) == 2 * len(known)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, some_rows(1000), schema=TEACHER_SCHEMA)
    logits = []
    for index, (seed, threads) in enumerate([(1, 1), (1, 2), (2, 1)]):
        config = TeacherConfig(trees=10, leaves=7, seed=seed, threads=threads)
        logits.append(train_teacher(data, schema, tmp_path / f"{index}", config=config).logits.read_bytes())
    assert logits[0] == logits[1]
    assert logits[0] != logits[2]


def test_the_report_says_what_was_done(tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    data, schema = write_rows(tmp_path, some_rows(1000), schema=TEACHER_SCHEMA)
    report = train_teacher(
        data,
        schema,
        tmp_path / "teacher",
        config=CONFIG,
        progress=lambda task, done, total, detail: told.append((round(done), total)),
    )
    written = json.loads((tmp_path / "teacher/report.json").read_text())
    assert written["auc"]["test"]["value"] == report.quality["test"].value
    assert written["config"]["trees"] == 30
    assert written["columns"] == ["carrier", "hour", "gate", "distance", "wind", "traffic"]
    assert written["data_sha256"] == load_dataset(data, schema).sha256
    assert told == [(done, 90) for done in range(1, 91)]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("kind", "xgboost", r"kind of teacher: expected one of \['lightgbm'\], got 'xgboost'"),
        ("kind", ["lightgbm"], "kind of teacher"),
        ("folds", 1, "teacher's folds: expected an integer of at least 2, got 1"),
        ("trees", 1.5, "teacher's trees: expected an integer of at least 1, got 1.5"),
        ("seed", -1, "teacher's seed: "),
        ("threads", True, "teacher's threads: "),
        ("leaves", "many", "teacher's leaves: "),
        ("learning_rate", 0, "teacher's learning_rate: expected above 0 and at most 1, got 0"),
        ("learning_rate", float("nan"), "teacher's learning_rate"),
        ("teacher_columns", 1, "teacher's teacher_columns: expected true or false, got 1"),
        ("learning_rate", "fast", "teacher's learning_rate: expected above 0 and at most 1, got 'fast'"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TeacherConfig(**{key: value})


def test_only_a_teacher_is_ever_replaced(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, some_rows(200))
    (tmp_path / "work").mkdir()
    (tmp_path / "work/thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"expected a teacher's folder or nothing, found \['thesis.tex'\]"):
        train_teacher(data, schema, tmp_path / "work", config=CONFIG)
    assert (tmp_path / "work/thesis.tex").read_text() == "years of work"
    with pytest.raises(ConfigError, match="expected a teacher's folder or nothing"):
        train_teacher(data, schema, data, config=CONFIG)
    train_teacher(data, schema, tmp_path / "teacher", config=TeacherConfig(trees=2, folds=4, threads=1))
    train_teacher(data, schema, tmp_path / "teacher", config=TeacherConfig(trees=2, folds=2, threads=1))
    assert len(list((tmp_path / "teacher").glob("fold-*"))) == 2


def test_more_folds_than_training_rows_are_refused(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, some_rows(60))
    with pytest.raises(DataError, match="expected a labelled training row per fold, got 42 for 43 folds"):
        train_teacher(data, schema, tmp_path / "teacher", config=TeacherConfig(folds=43, threads=1))
    assert not (tmp_path / "teacher").exists()


HELD = """
import sys
from pathlib import Path
from elastier_trainer.teachers import lightgbm as teacher

write_logits, moment = teacher.write_logits, sys.argv[4]

def hold():
    print("held", flush=True)
    sys.stdin.read()

def held_write(*args, **kwargs):
    write_logits(*args, **kwargs)
    if moment == "writing":
        hold()

def told(task, done, total, detail):
    if moment == "training" and done > total / 2:
        hold()

teacher.write_logits = held_write
data, schema, out = map(Path, sys.argv[1:4])
teacher.train_teacher(data, schema, out, config=teacher.TeacherConfig(trees=5, threads=1), progress=told)
"""


@pytest.mark.parametrize("moment", ["training", "writing"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_killed_teacher_leaves_nothing_in_the_way(tmp_path: Path, moment: str, earlier: bool) -> None:
    data, schema = write_rows(tmp_path, some_rows(600))
    out = tmp_path / "out/teacher"
    if earlier:
        train_teacher(data, schema, out, config=CONFIG)
    before = {path.name: path.read_bytes() for path in out.glob("*")}
    with subprocess.Popen(
        [sys.executable, "-c", HELD, str(data), str(schema), str(out), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.send_signal(signal.SIGKILL)
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before
    report = train_teacher(data, schema, out, config=CONFIG)
    assert report.logits.is_file()
    assert [path.name for path in out.parent.iterdir()] == ["teacher"]
