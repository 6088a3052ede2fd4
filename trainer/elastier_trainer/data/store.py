"""Encoded tensors of large files, on disk: written once, mapped into memory ever after.

One folder a data set, named by the digest of data and schema. A folder is there whole or not at all, and one
process writes while others wait for it.
"""

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from elastier_contract import atomic
from elastier_contract.features import FeatureSchema
from elastier_contract.model import FrozenModel
from elastier_trainer.data.dataset import SPLITS, Dataset
from elastier_trainer.data.labels import TaskFacts
from elastier_trainer.errors import DataError

FOLDER_VARIABLE = "ELASTIER_CACHE"
_FACTS_FILE = "dataset.json"


def cache_folder() -> Path:
    """Where caches are: `$ELASTIER_CACHE`, else elastier's folder under `$XDG_CACHE_HOME` or `~/.cache`."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "elastier"


class StoredFacts(FrozenModel):
    """What a stored data set is, beside its arrays."""

    form: Literal[1] = 1
    """Of the folder and of how rows are encoded; another one is made anew."""
    sha256: str
    rows: int
    features: FeatureSchema
    task: TaskFacts
    classes: tuple[str, ...]
    warnings: tuple[str, ...]


def load_or_make(folder: Path, make: Callable[[Path], tuple[Dataset, TaskFacts]]) -> Dataset:
    """The data set stored at `folder`; where there is none, `make` writes its inputs to a folder it is given.

    Raises:
        DataError: The place cannot be written, or as `make` does.
    """
    with _locked(folder):
        stored = read_stored(folder)
        if stored is not None:
            return stored
        try:
            with atomic.folder(folder) as staging:
                _write_rest(staging, *make(staging))
        except OSError as error:
            raise _unwritable(folder, error) from error
        stored = read_stored(folder)
    if stored is None:
        raise DataError(f"{folder}: expected the encoded data just written, found them damaged")
    return stored


def read_stored(folder: Path) -> Dataset | None:
    """The data set stored at `folder`, or None where there is none, or a damaged one."""
    try:
        facts = StoredFacts.model_validate_json((folder / _FACTS_FILE).read_bytes())
        inputs = {spec.name: map_array(folder, spec.name) for spec in facts.features.tensor_specs()}
        labels_R, row_ids_R = map_array(folder, "labels"), map_array(folder, "row_ids")
        splits = {split: map_array(folder, split) for split in SPLITS}
    except (OSError, ValueError, ValidationError):
        return None
    if any(len(tensor) != facts.rows for tensor in (labels_R, row_ids_R, *inputs.values())):
        return None
    return Dataset(
        features=facts.features,
        inputs=inputs,
        labels_R=labels_R,
        row_ids_R=row_ids_R,
        splits=splits,
        sha256=facts.sha256,
        task=facts.task.task(),
        classes=facts.classes,
        warnings=facts.warnings,
    )


class ArrayWriter:
    """Appends rows to .npy files, so that they never are in memory whole."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder = folder
        self._rows = rows
        self._files: dict[str, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the next rows of each array; the first ones say its dtype and width."""
        for name, array in arrays.items():
            file = self._files.get(name)
            if file is None:
                file = self._files[name] = self._start(name, array)
            file.write(np.ascontiguousarray(array).data)

    def _start(self, name: str, array: NDArray[Any]) -> IO[bytes]:
        file = self._stack.enter_context((self._folder / f"{name}.npy").open("wb"))
        header = {
            "descr": np.lib.format.dtype_to_descr(array.dtype),
            "fortran_order": False,
            "shape": (self._rows, *array.shape[1:]),
        }
        np.lib.format.write_array_header_1_0(file, header)
        return file


def map_array(folder: Path, name: str) -> Tensor:
    """A tensor whose numbers are read from the file as they are used, and may be dropped from memory again.

    Raises:
        OSError, ValueError: No such file, or not a whole array.
    """
    array = np.load(folder / f"{name}.npy", mmap_mode="r")
    with warnings.catch_warnings():
        # Nothing writes to a data set's tensors. A map that may be written counts as memory in use.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _write_rest(folder: Path, dataset: Dataset, task: TaskFacts) -> None:
    arrays: dict[str, Tensor] = {"labels": dataset.labels_R, "row_ids": dataset.row_ids_R}
    arrays |= {split: dataset.splits[split] for split in SPLITS}
    for name, tensor in arrays.items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    facts = StoredFacts(
        sha256=dataset.sha256,
        rows=len(dataset.labels_R),
        features=dataset.features,
        task=task,
        classes=dataset.classes,
        warnings=dataset.warnings,
    )
    (folder / _FACTS_FILE).write_text(facts.model_dump_json())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing this folder; the lock of a process that dies is free again."""
    lock = folder.parent / f".{folder.name}.lock"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{folder}: cannot write encoded data there: {error.strerror}; {FOLDER_VARIABLE} names another folder"
    )
