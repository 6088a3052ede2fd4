"""A trained run teaches others: by its own vocabulary, its own names of classes, in the label's unit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from elastier_trainer.config_file import load_config, parse_config, yaml_text
from elastier_trainer.data import stream
from elastier_trainer.data.load import load_dataset
from elastier_trainer.data.stream import RowStream, open_stream
from elastier_trainer.errors import CheckpointError, ConfigError, DataError
from elastier_trainer.run import run_training
from elastier_trainer.teachers import rows
from elastier_trainer.teachers.digest import source_digest
from elastier_trainer.teachers.source import parse_source
from elastier_trainer.trained import TrainedModel, load_trained
from support.rows import some_rows, write_rows
from support.teachers import asking

WIDE_SCHEMA = (
    "label: {name: late, kind: %s}\nrow_id: id\ncategorical: [gate, hour]\nnumeric: [traffic, wind]\n"
)
STUDENT_SCHEMA = "label: {name: late, kind: %s}\nrow_id: id\ncategorical: [hour]\nnumeric: [distance]\n"
SMALL: dict[str, Any] = {
    "ladder": [2, 4],
    "model": {"model_dim": 4, "hidden": 4},
    "steps": 6,
    "labelled_rows": 32,
    "threads": 1,
}


def trained_run(folder: Path, columns: dict[str, Any], kind: str = "binary") -> TrainedModel:
    """A run of a few steps on these columns, in `folder/run`."""
    folder.mkdir()
    data, schema = write_rows(folder, columns, schema=WIDE_SCHEMA % kind)
    document = {"data": data, "schema": schema, "objective": {"alpha": 0}, **SMALL}
    run_training(parse_config(document, source="test"), folder / "run")
    return load_trained(folder / "run")


def asked(folder: Path, columns: dict[str, Any], document: Any, kind: str = "binary") -> Tensor:
    """What students that know less hear from a teacher."""
    folder.mkdir()
    data, schema = write_rows(folder, columns, schema=STUDENT_SCHEMA % kind)
    return asking(load_dataset(data, schema), data, schema)(document)


def alone(trained: TrainedModel, columns: dict[str, Any], student: str) -> Tensor:
    """The same asked directly, rows encoded as a request's are."""
    features = trained.record.features
    inputs = features.encode({name: np.asarray(columns[name]).tolist() for name in features.columns})
    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    with torch.no_grad():
        return trained.model.logits(tensors, [trained.ladder.students[student]])[0]


def test_a_run_teaches_by_its_own_columns_and_vocabulary(tmp_path: Path) -> None:
    trained = trained_run(tmp_path / "teacher", some_rows(300))
    # Other rows, in other vocabularies: an hour that the teacher never saw, and only one of its gates.
    columns = some_rows(150, seed=1)
    columns["hour"][:5] = 77
    columns["gate"] = ["B2"] * 150
    run = str(tmp_path / "teacher/run")
    for index, (document, student) in enumerate(
        [({"checkpoint": run}, "w4"), ({"checkpoint": run, "student": "w2"}, "w2")]
    ):
        found = asked(tmp_path / f"{index}", columns, document)
        assert torch.allclose(found, alone(trained, columns, student), atol=1e-6)
        assert not found.requires_grad


def test_a_large_file_is_answered_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = trained_run(tmp_path / "teacher", some_rows(300))
    columns = some_rows(150, seed=1)
    streams: list[RowStream] = []

    def open_in_parts(path: Path, names: tuple[str, ...]) -> RowStream:
        streams.append(open_stream(path, names, memory_bytes=1))
        return streams[-1]

    monkeypatch.setattr(stream, "_PART_ROWS", 40)
    monkeypatch.setattr(rows, "open_stream", open_in_parts)
    found = asked(tmp_path / "a", columns, {"checkpoint": str(tmp_path / "teacher/run")})
    assert [part.first_row for part in streams[0].parts(["id"])] == [0, 40, 80, 120]
    assert torch.allclose(found, alone(trained, columns, "w4"), atol=1e-6)


def test_a_student_that_is_not_in_the_run_is_refused_with_those_that_are(tmp_path: Path) -> None:
    trained_run(tmp_path / "teacher", some_rows(300))
    run = str(tmp_path / "teacher/run")
    with pytest.raises(ConfigError, match=r"expected one of its students \['w2', 'w4'\], got 'w3'"):
        asked(tmp_path / "a", some_rows(150), {"checkpoint": run, "student": "w3"})
    blind = {name: values for name, values in some_rows(150).items() if name != "traffic"}
    with pytest.raises(DataError, match=r"missing columns \['traffic'\]"):
        asked(tmp_path / "b", blind, {"checkpoint": run})
    with pytest.raises(CheckpointError, match="expected a finished training run"):
        asked(tmp_path / "c", some_rows(150), {"checkpoint": str(tmp_path)})


def test_a_regression_is_taught_in_the_labels_unit(tmp_path: Path) -> None:
    columns = some_rows(300)
    columns["late"] = columns["wind"] * 3 + 100
    trained = trained_run(tmp_path / "teacher", columns, "regression")
    # The students' labels have another mean and deviation, so standardised they are other numbers.
    other = some_rows(150, seed=1)
    other["late"] = other["wind"] * 60 - 7
    found = asked(tmp_path / "a", other, {"checkpoint": str(tmp_path / "teacher/run")}, "regression")
    task = load_dataset(tmp_path / "a/rows.parquet", tmp_path / "a/rows.schema.yaml").task
    own, students = vars(trained.task), vars(task)
    assert own["label_std"] != pytest.approx(students["label_std"], rel=0.1)
    labels = alone(trained, other, "w4") * own["label_std"] + own["label_mean"]
    expected = (labels - students["label_mean"]) / students["label_std"]
    assert found.numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-5)


def test_classes_are_found_by_name(tmp_path: Path) -> None:
    columns = some_rows(300)
    columns["late"] = [("10", "9", "on time")[row % 3] for row in range(300)]
    trained = trained_run(tmp_path / "teacher", columns, "multiclass")
    run = {"checkpoint": str(tmp_path / "teacher/run")}
    found = asked(tmp_path / "a", columns, run, "multiclass")
    assert torch.allclose(found, alone(trained, columns, "w4"), atol=1e-6)

    record = tmp_path / "teacher/run/model/model.json"
    names = '"10",\n   "9",\n   "on time"'
    assert names in record.read_text()
    record.write_text(record.read_text().replace(names, '"on time",\n   "10",\n   "9"'))
    turned = asked(tmp_path / "b", columns, run, "multiclass")
    assert torch.equal(turned, found[:, [1, 2, 0]])

    columns["late"] = ["late" if name == "9" else name for name in columns["late"]]
    with pytest.raises(ConfigError, match=r"expected the classes of the data, \['10', 'late', 'on time'\]"):
        asked(tmp_path / "c", columns, run, "multiclass")
    with pytest.raises(ConfigError, match="expected a model of a binary task, got one of a multiclass task"):
        asked(tmp_path / "d", some_rows(300), run)


def test_students_learn_from_an_ensemble_and_their_run_remembers_it(tmp_path: Path) -> None:
    trained_run(tmp_path / "teacher", some_rows(300))
    (tmp_path / "data").mkdir()
    data, schema = write_rows(tmp_path / "data", some_rows(300), schema=STUDENT_SCHEMA % "binary")
    logits = "row_id,logit\n" + "".join(f"{row},{row % 5 - 2}\n" for row in some_rows(300)["id"])
    (tmp_path / "logits.csv").write_text(logits)
    document = {
        "data": str(data),
        "schema": str(schema),
        "teacher": {"ensemble": ["logits.csv", {"checkpoint": "teacher/run"}], "weights": [1, 2]},
        **SMALL,
    }
    (tmp_path / "config.yaml").write_text(yaml_text(document))
    config = load_config(tmp_path / "config.yaml")
    asked_to_stop = iter([False, False, False, True])
    report = run_training(config, tmp_path / "run", stop=lambda: next(asked_to_stop))
    assert report.ending == "interrupted"
    assert load_config(tmp_path / "run/config.yaml").teacher == config.teacher

    (tmp_path / "logits.csv").write_text(logits.replace(",-2\n", ",-3\n"))
    with pytest.raises(CheckpointError, match="teacher sha256"):
        run_training(config, tmp_path / "run", resume=True)
    (tmp_path / "logits.csv").write_text(logits)
    assert run_training(config, tmp_path / "run", resume=True).ending == "all steps"


def test_the_digest_of_a_run_is_that_of_its_model_and_the_student_asked(tmp_path: Path) -> None:
    trained_run(tmp_path / "teacher", some_rows(300))
    run = {"checkpoint": str(tmp_path / "teacher/run")}
    before = source_digest(parse_source(run))
    assert source_digest(parse_source(run | {"student": "w2"})) != before
    for name in ("model.json", "model.safetensors"):
        path = tmp_path / "teacher/run/model" / name
        held = path.read_bytes()
        path.write_bytes(held + b" ")
        assert source_digest(parse_source(run)) != before
        path.write_bytes(held)
    assert source_digest(parse_source(run)) == before
