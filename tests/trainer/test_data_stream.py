"""A table larger than memory becomes files, whole or not at all, and the same tensors come out."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elastier_trainer.data import store, stream
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.data.stream import RowStream, open_stream
from elastier_trainer.errors import DataError
from support.rows import SCHEMA, some_rows, write_rows

PART_ROWS = 37


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_PART_ROWS", PART_ROWS)
    monkeypatch.setattr(stream, "_CSV_BLOCK_BYTES", 1000)


def load_large(folder: Path, files: tuple[Path, Path], **options: Any) -> Dataset:
    """As a table too large for memory would be."""
    return load_dataset(*files, memory_bytes=1, cache=folder / "cache", **options)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv"])
def test_in_parts_and_whole_give_the_same_data_set(tmp_path: Path, name: str) -> None:
    schema = SCHEMA + "group: gate\nsplit: {by: time, column: traffic}\n"
    files = write_rows(tmp_path, some_rows(1000), name=name, schema=schema)
    assert len(list(open_stream(files[0], ["wind"], memory_bytes=1).parts(["wind"]))) > 5
    whole, parts = load_dataset(*files), load_large(tmp_path, files)
    for kind, tensor in whole.inputs.items():
        assert torch.equal(parts.inputs[kind], tensor)
        assert parts.inputs[kind].dtype == tensor.dtype
    assert torch.equal(parts.labels_R, whole.labels_R)
    assert torch.equal(parts.row_ids_R, whole.row_ids_R)
    for split, rows in whole.splits.items():
        assert torch.equal(parts.splits[split], rows)
    assert parts.features.categorical == whole.features.categorical
    for found, expected in zip(parts.features.numeric, whole.features.numeric, strict=True):
        assert (found.mean, found.std) == pytest.approx((expected.mean, expected.std), rel=1e-12)
    assert (parts.sha256, parts.task, parts.warnings) == (whole.sha256, whole.task, whole.warnings)
    positions = torch.tensor([999, 0, 500])
    assert torch.equal(parts.rows(positions)["numeric"], whole.inputs["numeric"][positions])


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_classes_and_label_units_come_back_from_the_files(tmp_path: Path, kind: str) -> None:
    schema = SCHEMA.replace("label: late", f"label: {{name: traffic_class, kind: {kind}}}")
    columns = some_rows() | {"traffic_class": np.arange(200) % 11}
    files = write_rows(tmp_path, columns, schema=schema)
    whole, parts, again = load_dataset(*files), load_large(tmp_path, files), load_large(tmp_path, files)
    assert parts.task == again.task == whole.task
    assert parts.classes == again.classes == whole.classes
    assert torch.equal(again.labels_R, whole.labels_R)
    assert again.labels_R.dtype == whole.labels_R.dtype


def test_the_files_are_made_once_for_each_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_rows(tmp_path, some_rows())
    first = load_large(tmp_path, files)
    teacher = load_large(tmp_path, files, with_teacher_columns=True)
    other = load_large(tmp_path, write_rows(tmp_path, some_rows(seed=1)))
    assert not torch.equal(other.labels_R, first.labels_R)
    assert teacher.sha256 == first.sha256

    def no_pass(self: RowStream, columns: Any) -> None:
        raise AssertionError(f"read {self.path} again for {columns}")

    files = write_rows(tmp_path, some_rows())
    monkeypatch.setattr(RowStream, "parts", no_pass)
    again = load_large(tmp_path, files)
    assert torch.equal(again.inputs["numeric"], first.inputs["numeric"])
    assert again.features == first.features


def test_progress_is_told_in_rows(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def progress(task: str, done: int, total: int, detail: str) -> None:
        told.append((task, done, total))

    load_large(tmp_path, write_rows(tmp_path, some_rows()), progress=progress)
    assert [done for task, done, _ in told if task == "encoding"] == [37, 74, 111, 148, 185, 200]
    assert {(task, total) for task, _, total in told} == {("fitting", 200), ("encoding", 200)}


def stored_folders(cache: Path) -> list[str]:
    """What is in a cache, beside locks."""
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


KILLED = """
import os, signal, sys
from pathlib import Path
from elastier_trainer.data import stream
from elastier_trainer.data.encode import PartEncoder
from elastier_trainer.data.load import load_dataset

stream._PART_ROWS = 37
encode = PartEncoder.encode

def encode_or_die(self, part):
    if part.first_row > 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(self, part)

PartEncoder.encode = encode_or_die
folder = Path(sys.argv[1])
load_dataset(folder / "rows.parquet", folder / "rows.schema.yaml", memory_bytes=1, cache=folder / "cache")
"""


def test_a_process_killed_while_it_writes_leaves_nothing_that_counts(tmp_path: Path) -> None:
    files = write_rows(tmp_path, some_rows())
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    (leftover,) = stored_folders(tmp_path / "cache")
    assert ".staging-" in leftover
    dataset = load_large(tmp_path, files)
    assert torch.equal(dataset.inputs["numeric"], load_dataset(*files).inputs["numeric"])
    assert stored_folders(tmp_path / "cache") == [f"{dataset.sha256}-student"]


def test_who_comes_while_another_writes_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_rows(tmp_path, some_rows())
    made: list[Path] = []
    write_rest = store._write_rest

    def counted(folder: Path, dataset: Dataset, task: Any) -> None:
        made.append(folder)
        write_rest(folder, dataset, task)

    monkeypatch.setattr(store, "_write_rest", counted)
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(lambda _: load_large(tmp_path, files), range(4)))
    assert len(made) == 1
    assert all(torch.equal(one.labels_R, datasets[0].labels_R) for one in datasets)


@pytest.mark.parametrize("damage", ["cut", "missing", "facts"])
def test_damaged_files_are_made_anew(tmp_path: Path, damage: str) -> None:
    files = write_rows(tmp_path, some_rows())
    first = load_large(tmp_path, files).inputs["numeric"].clone()
    folder = tmp_path / "cache" / stored_folders(tmp_path / "cache")[0]
    match damage:
        case "cut":
            os.truncate(folder / "numeric.npy", 500)
        case "missing":
            (folder / "train.npy").unlink()
        case "facts":
            facts = json.loads((folder / "dataset.json").read_text())
            (folder / "dataset.json").write_text(json.dumps(facts | {"form": 0}))
    assert torch.equal(load_large(tmp_path, files).inputs["numeric"], first)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    files = write_rows(tmp_path, some_rows())
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cannot write encoded data there: .*; ELASTIER_CACHE names another"):
        load_large(tmp_path, files)


def test_the_environment_says_where_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELASTIER_CACHE", str(tmp_path / "here"))
    assert store.cache_folder() == tmp_path / "here"
    monkeypatch.delenv("ELASTIER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "elastier"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache_folder() == Path.home() / ".cache" / "elastier"


def test_a_wrong_value_far_into_a_file_is_named_by_its_row(tmp_path: Path) -> None:
    columns = some_rows()
    columns["wind"][150] = np.inf
    with pytest.raises(DataError, match="column 'wind' row 150: expected a finite 32-bit number, got inf"):
        load_large(tmp_path, write_rows(tmp_path, columns))
    assert stored_folders(tmp_path / "cache") == []


@pytest.mark.parametrize("memory_bytes", [1, 2**30], ids=["in parts", "whole"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((b"10,1,", b"10,"), "row 0: Expected 6 columns, got 5"),
        ((b"QQ", b"\xff\xfe"), "column 'carrier': row 170: .*invalid UTF8"),
        ((b"id,", b"\xff,"), "missing columns|cannot read it"),
    ],
    ids=["ragged", "not UTF-8", "header not UTF-8"],
)
def test_a_broken_csv_row_is_named(
    tmp_path: Path, memory_bytes: int, change: tuple[bytes, bytes], message: str
) -> None:
    header = "id,late,carrier,hour,distance,wind\n"
    lines = [f"{row + 10},{(row + 1) % 2},{'QQ' if row == 170 else 'AA'},5,1,1\n" for row in range(200)]
    (tmp_path / "rows.csv").write_bytes((header + "".join(lines)).encode().replace(*change, 1))
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    with pytest.raises(DataError, match=message):
        load_dataset(
            tmp_path / "rows.csv",
            tmp_path / "schema.yaml",
            memory_bytes=memory_bytes,
            cache=tmp_path / "cache",
        )


def test_a_parquet_file_with_a_damaged_page_is_refused(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, some_rows(5000))
    content = bytearray(data.read_bytes())
    place = pq.ParquetFile(data).metadata.row_group(0).column(2).data_page_offset
    content[place : place + 40] = b"\xff" * 40
    data.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.parquet: cannot read it"):
        load_large(tmp_path, (data, schema))


def test_parquet_text_that_is_not_utf_8_is_named_by_its_row(tmp_path: Path) -> None:
    columns: dict[str, Any] = some_rows() | {"carrier": [b"AA"] * 120 + [b"\xff"] + [b"AA"] * 79}
    table = pa.table(columns)
    place = table.column_names.index("carrier")
    # Arrow calls bytes text without looking at them.
    text = pa.Array.from_buffers(pa.string(), 200, table["carrier"].combine_chunks().buffers())
    pq.write_table(table.set_column(place, "carrier", text), tmp_path / "rows.parquet")
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    with pytest.raises(DataError, match=r"column 'carrier' row 120: expected UTF-8 text, got b'\\xff'"):
        load_large(tmp_path, (tmp_path / "rows.parquet", tmp_path / "schema.yaml"))


def test_a_quoted_cell_may_hold_line_breaks(tmp_path: Path) -> None:
    lines = [f'{row},{row % 2},"A\n{row % 3}",5,1,1\n' for row in range(200)]
    (tmp_path / "rows.csv").write_text("id,late,carrier,hour,distance,wind\n" + "".join(lines))
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    dataset = load_large(tmp_path, (tmp_path / "rows.csv", tmp_path / "schema.yaml"))
    assert dataset.features.categorical[0].values == ("A\n0", "A\n1", "A\n2")


def test_an_empty_parquet_file_has_no_rows(tmp_path: Path) -> None:
    data, schema = write_rows(tmp_path, {name: values[:0] for name, values in some_rows().items()})
    with pytest.raises(DataError, match="expected rows, found a header alone"):
        load_dataset(data, schema)
    with pytest.raises(DataError, match="expected rows, found a header alone"):
        load_dataset(data, schema, memory_bytes=0, cache=tmp_path)


PEAK = """
import sys
from pathlib import Path
from elastier_trainer.data.load import load_dataset

def peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

folder = Path(sys.argv[1])
load = lambda name: load_dataset(
    folder / name, folder / "schema.yaml", memory_bytes=1, cache=folder / "cache"
)
load("small.parquet")  # what is imported and set up on first use is not the table's
before = peak_bytes()
dataset = load("large.parquet")
after = peak_bytes()
print(after - before, len(dataset.labels_R), dataset.inputs["numeric"].double().sum().item())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_large_table_takes_a_small_part_of_its_size_in_memory(tmp_path: Path) -> None:
    rows, width = 400_000, 48
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 1000, rows).astype(np.float64)
    columns = {f"n{index}": np.roll(numbers, index) for index in range(width)}
    table = pa.table({"y": rng.integers(0, 2, rows), **columns})
    pq.write_table(table, tmp_path / "large.parquet")
    pq.write_table(table.slice(0, 1000), tmp_path / "small.parquet")
    (tmp_path / "schema.yaml").write_text(f"label: y\nnumeric: [{', '.join(columns)}]\n")

    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    peak_bytes, found_rows, total = subprocess.check_output(command, timeout=120).split()
    assert int(found_rows) == rows
    assert float(total) == numbers.sum() * width
    assert int(peak_bytes) < table.nbytes / 2
