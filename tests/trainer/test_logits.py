"""A teacher's logits in a file find their rows, or are refused."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyarrow import csv

from elastier_trainer.errors import DataError
from elastier_trainer.teachers.logits import read_logits, write_logits

IDS = torch.tensor([40, -7, 2**62])
LOGITS = torch.tensor([0.1, -2.5, 30.0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_logits(tmp_path / "logits.parquet", IDS, LOGITS, teacher="lightgbm", data_sha256="a" * 64)
    return tmp_path / "logits.parquet"


def test_logits_come_in_the_order_of_the_rows(file: Path) -> None:
    found = read_logits(file, IDS.flip(0), outputs=1, data_sha256="a" * 64)
    assert torch.equal(found, LOGITS.flip(0).unsqueeze(1))
    assert found.dtype == torch.float32
    assert torch.equal(read_logits(file, IDS[1:2], outputs=1, data_sha256=None), LOGITS[1:2].unsqueeze(1))


def test_every_class_has_a_column_of_logits(tmp_path: Path) -> None:
    logits = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    write_logits(tmp_path / "l.parquet", IDS, logits, teacher="t", data_sha256="")
    assert pq.read_schema(tmp_path / "l.parquet").names == ["row_id", "logit_0", "logit_1", "logit_2"]
    found = read_logits(tmp_path / "l.parquet", IDS.flip(0), outputs=3, data_sha256=None)
    assert torch.equal(found, logits.flip(0))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (2, r"expected the logits \['logit_0', 'logit_1'\], one per output, found .*'logit_2'\]"),
        (4, r"missing columns \['logit_3'\]"),
        (1, r"missing columns \['logit'\]"),
    ],
)
def test_logits_of_another_number_of_outputs_are_refused(tmp_path: Path, outputs: int, message: str) -> None:
    for name in ("l.parquet", "l.csv"):
        write_logits(tmp_path / "l.parquet", IDS, torch.zeros(3, 3), teacher="t", data_sha256="")
        csv.write_csv(pq.read_table(tmp_path / "l.parquet"), tmp_path / "l.csv")
        with pytest.raises(DataError, match=re.escape(name) + ": " + message):
            read_logits(tmp_path / name, IDS, outputs=outputs, data_sha256=None)


def test_the_file_says_whose_logits_it_holds(file: Path) -> None:
    schema = pq.read_schema(file)
    assert schema.metadata[b"elastier.teacher"] == b"lightgbm"
    assert schema.metadata[b"elastier.data_sha256"] == b"a" * 64
    assert [(field.name, str(field.type)) for field in schema] == [("row_id", "int64"), ("logit", "float")]


def test_equal_logits_give_equal_bytes(file: Path, tmp_path: Path) -> None:
    write_logits(tmp_path / "again.parquet", IDS, LOGITS, teacher="lightgbm", data_sha256="a" * 64)
    assert (tmp_path / "again.parquet").read_bytes() == file.read_bytes()


def test_logits_of_other_data_are_refused(file: Path) -> None:
    with pytest.raises(
        DataError, match="expected logits for data with digest bbbbbbbbbbbb, these are for aaaa"
    ):
        read_logits(file, IDS, outputs=1, data_sha256="b" * 64)


def test_rows_without_a_logit_are_counted_and_named(file: Path) -> None:
    wanted = torch.tensor([40, 1, 2, 2**63 - 1, -(2**63)])
    with pytest.raises(DataError, match=r"no logits for 4 of 5 rows, the first with row ids \[1, 2, 9223"):
        read_logits(file, wanted, outputs=1, data_sha256=None)


def test_a_file_made_elsewhere_is_matched_by_row_id_alone(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("row_id,logit,note\n7,0.5,a\n3,-1,b\n")
    found = read_logits(tmp_path / "own.csv", torch.tensor([3, 7]), outputs=1, data_sha256="a" * 64)
    assert found.tolist() == [[-1.0], [0.5]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"row_id": [1, 2], "logit": [0.0, float("nan")]}, "column 'logit' row 1: expected a finite"),
        ({"row_id": [1, 2], "logit": [0.0, None]}, "column 'logit' row 1: expected a value"),
        ({"row_id": [1, 1], "logit": [0.0, 1.0]}, "row id 'row_id' row 1: 1 came before"),
        (
            {"row_id": [1, 2], "score": [0.0, 1.0]},
            r"missing columns \['logit'\]; it has \['row_id', 'score'\]",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"bad\.parquet: " + message):
        read_logits(tmp_path / "bad.parquet", torch.tensor([1]), outputs=1, data_sha256=None)


def test_what_is_not_finite_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected finite logits, got 1 that are not"):
        write_logits(
            tmp_path / "l.parquet", IDS, LOGITS / torch.tensor([1, 0, 1]), teacher="t", data_sha256=""
        )
    with pytest.raises(DataError, match="expected logits per row id"):
        write_logits(tmp_path / "l.parquet", IDS, LOGITS[:2], teacher="t", data_sha256="")
    assert list(tmp_path.iterdir()) == []
