"""The letters data set, read from a file of R: made ones here, the real one where it is installed."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import rdata
from typer.testing import CliRunner

from elastier_cli.data import app
from elastier_trainer.config_file import load_config
from elastier_trainer.data import letters as made
from elastier_trainer.data.letters import LETTERS, LETTERS_SCHEMA, MEASURES, build_letters
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import DataError

EXAMPLE = Path(__file__).parents[2] / "examples" / "letters.yaml"
REAL = Path(os.environ.get("ELASTIER_LETTERS", made.INSTALLED))


def table(rows: int = 4, **columns: Any) -> pd.DataFrame:
    """Letters in the source's format."""
    names = [name.replace("_", ".") for name in MEASURES]
    measures = {name: [float((row + at) % 16) for row in range(rows)] for at, name in enumerate(names)}
    letters = pd.Categorical([LETTERS[(3 * row) % 26] for row in range(rows)], categories=list(LETTERS))
    return pd.DataFrame({"lettr": letters, **measures} | columns, index=pd.RangeIndex(1, rows + 1))


def write(path: Path, **objects: Any) -> Path:
    rdata.write_rda(path, objects)
    return path


def test_rows_keep_their_order_and_names_lose_their_dots(tmp_path: Path) -> None:
    path = write(tmp_path / made.SOURCE_FILE, LetterRecognition=table())
    read = made.as_table(made.read_source(path))
    assert read.column_names == ["letter_id", "lettr", *MEASURES]
    assert read["letter_id"].to_pylist() == [0, 1, 2, 3]
    assert read["lettr"].to_pylist() == ["A", "D", "G", "J"]
    assert read["x_box"].to_pylist() == [0, 1, 2, 3]
    assert read["yegvx"].to_pylist() == [15, 0, 1, 2]


def test_a_source_is_a_file_its_folder_or_an_unpacked_package(tmp_path: Path) -> None:
    inside = tmp_path / "usr" / "lib" / "R" / "site-library" / "mlbench" / "data"
    inside.mkdir(parents=True)
    path = write(inside / made.SOURCE_FILE, LetterRecognition=table())
    assert made.find_source(path) == made.find_source(inside) == made.find_source(tmp_path) == path


def test_a_missing_source_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found none: apt-get install r-cran-mlbench, .* dpkg -x"):
        build_letters(tmp_path / "out", tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"letters\n", b"\x1f\x8b\x08\x00cut", b"\xfd7zXZ\x00cut", b"BZh9cut", b"RDX2\nX\n"]
)
def test_what_is_no_file_of_r_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / made.SOURCE_FILE
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected a file of R, cannot read it"):
        made.read_source(path)


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / made.SOURCE_FILE
    cases = [
        ({"Glass": table()}, "expected the table LetterRecognition, found none"),
        ({"LetterRecognition": table().drop(columns="width")}, "expected the columns .*'width'.*, found"),
        ({"LetterRecognition": table(width=[0.0, 1.0, 16.0, 2.0])}, "from 0 to 15, found 0.0 to 16.0"),
        ({"LetterRecognition": table(width=[0.0, 1.0, 1.5, 2.0])}, "expected whole numbers"),
        (
            {"LetterRecognition": table(lettr=pd.Categorical(["A", "b", "C", "Z"]))},
            r"expected capital letters as classes, found \['b'\]",
        ),
    ]
    for objects, message in cases:
        with pytest.raises(DataError, match=message):
            made.read_source(write(path, **objects))
    with pytest.raises(DataError, match="expected 20000 letters, found 4"):
        build_letters(tmp_path / "out", write(path, LetterRecognition=table()))
    assert not (tmp_path / "out").exists()


def test_a_whole_source_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    path = write(tmp_path / made.SOURCE_FILE, LetterRecognition=table(made.ROWS))
    files, again = (build_letters(tmp_path / name, path) for name in ("one", "two"))
    assert (files.rows, files.classes) == (20_000, 26)
    assert files.data.read_bytes() == again.data.read_bytes()
    assert files.schema.read_bytes() == again.schema.read_bytes()
    assert sorted(found.name for found in files.data.parent.iterdir()) == [made.DATA_FILE, made.SCHEMA_FILE]


def test_the_example_trains_on_the_files_that_the_command_writes() -> None:
    config = load_config(EXAMPLE)
    folder = EXAMPLE.parents[1] / "build" / "letters"
    assert (config.data, config.schema) == (folder / made.DATA_FILE, folder / made.SCHEMA_FILE)


@pytest.mark.skipif(
    not REAL.exists(), reason=f"{made.INSTALL}; ELASTIER_LETTERS names a folder other than {made.INSTALLED}"
)
def test_all_real_letters_are_there_and_load(tmp_path: Path) -> None:
    command = ["letters", "--source", str(REAL), "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert '"classes": 26' in result.stdout
    read = pq.read_table(tmp_path / made.DATA_FILE).to_pandas()
    # The first letter of the source, and the counts of two others, as UCI documents them.
    assert read.iloc[0].tolist() == [0, "T", 2, 8, 3, 5, 1, 8, 13, 0, 6, 6, 10, 8, 0, 8, 0, 8]
    assert read["lettr"].value_counts()[["A", "U"]].tolist() == [789, 813]
    dataset = load_dataset(tmp_path / made.DATA_FILE, tmp_path / made.SCHEMA_FILE)
    assert len(dataset.labels_R) == 20_000
    assert dataset.inputs["numeric"].shape == (20_000, len(LETTERS_SCHEMA.numeric))
