from pathlib import Path
from typing import Any

import pytest

from elastier_trainer.config_file import dump_config, load_config, parse_config, resolve_paths, yaml_text
from elastier_trainer.errors import ConfigError
from elastier_trainer.teachers.source import LogitsFile

MINIMAL = "data: flights.parquet\nschema: flights.schema.yaml\nteacher: teacher.parquet\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(MINIMAL)
    return tmp_path / "run.yaml"


def test_paths_are_relative_to_the_file(file: Path) -> None:
    config = load_config(file)
    assert config.data == file.parent / "flights.parquet"
    assert config.teacher == LogitsFile(logits=file.parent / "teacher.parquet")


def test_flags_go_over_the_file_key_by_key(file: Path) -> None:
    file.write_text(MINIMAL + "steps: 7\nobjective: {alpha: 0.5, tau: 2}\n")
    config = load_config(file, {"steps": 9, "objective.alpha": 0.25})
    assert (config.steps, config.objective.alpha, config.objective.tau) == (9, 0.25, 2.0)


def test_what_is_dumped_reads_back_as_the_same_run(file: Path, tmp_path: Path) -> None:
    config = load_config(file, {"ladder": [4, 8], "model.hidden": 8, "patience": 3, "optimizer.lr": 1e-3})
    run = tmp_path / "runs/one"
    document = dump_config(config, relative_to=run)
    assert document["data"] == "../../flights.parquet"
    assert parse_config(resolve_paths(document, run), source="run") == config
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml_text(document))
    assert load_config(run / "config.yaml") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepz": 5}, "stepz: unknown key"),
        ({"objective.beta": 5}, "objective.beta: unknown key"),
        (
            {"steps": "many"},
            "steps: Input should be a valid integer, unable to parse string as an integer, got 'many'",
        ),
        ({"steps": 0}, "steps: Input should be greater than 0, got 0"),
        ({"objective.alpha": 1.5}, "objective.alpha: Input should be less than or equal to 1, got 1.5"),
        ({"objective.tau": float("nan")}, "objective.tau: Input should be a finite number, got nan"),
        (
            {"optimizer.name": "sgd"},
            "optimizer.name: Input should be 'adamw', 'soap' or 'shampoo', got 'sgd'",
        ),
        ({"optimizer.betas": [0.9, 1.0]}, "optimizer.betas.1: Input should be less than 1, got 1.0"),
        ({"ladder": []}, "ladder: Tuple should have at least 1 item after validation, not 0, got []"),
        ({"ladder": [16, 8, 1024]}, "ladder: expected ascending widths, got [16, 8, 1024]"),
        ({"ladder": [8, 16]}, "ladder: expected the TA last (model.hidden = 1024, all blocks), got 'w16'"),
        ({"ladder": [8, 8, 1024]}, "ladder.1: expected each student once, got 'w8' again"),
        ({"ladder": [{"layers": 3}, 1024]}, "ladder.0: expected at most 2 layers, got 3"),
        (
            {"ladder": [{"layers": [1, 0]}, 1024]},
            "ladder.0: expected ascending indices of 2 blocks, got [1, 0]",
        ),
        ({"ladder": [{"width": [8]}, 1024]}, "ladder.0: expected a width per kept block, got 1 for 2 blocks"),
        (
            {"ladder": [{"model_dim": 129}, 1024]},
            "ladder.0: expected at most 1024 hidden units and model dimension 128, got 1024 and 129",
        ),
        ({"ladder": [{"name": "A b"}, 1024]}, "ladder.0.StudentConfig.name: String should match pattern"),
        ({"watch": "w9"}, "watch: expected a student of the ladder ['w8', 'w16', 'w32', 'w64', "),
        ({"labelled_rows": 0}, "labelled_rows, unlabelled_rows: expected rows in a batch, got none"),
        ({"teacher": None}, "teacher: expected a source of logits, since objective.alpha is 0.9"),
        ({"data": None}, "data: Input is not a valid path"),
    ],
)
def test_a_wrong_value_is_named_by_key_path_expectation_and_value(
    file: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file, change)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


def test_all_findings_come_at_once(file: Path) -> None:
    file.write_text("data: d.parquet\nsteps: -1\nbogus: 2\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    for finding in ("schema: expected a value, got none", "steps: ", "bogus: unknown key"):
        assert finding in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"steps: [1", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"- a\n- b\n", "expected a mapping of keys to values, got a list"),
        (b"objective: 3\n", "objective: "),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.yaml") as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"absent\.yaml: expected a YAML file, cannot read it: No such file"
    ):
        load_config(tmp_path / "absent.yaml")


def test_a_flag_into_something_that_is_no_mapping_is_refused(file: Path) -> None:
    file.write_text(MINIMAL + "objective: 3\n")
    with pytest.raises(ConfigError, match="objective: expected a mapping, got 3"):
        load_config(file, {"objective.alpha": 0.5})
