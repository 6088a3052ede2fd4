"""From a data file and its schema file to tensors.

Shapes: R rows, C categorical columns, N numeric columns.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elastier_contract.features import FeatureSchema
from elastier_contract.progress import Progress, no_progress
from elastier_trainer.data import store
from elastier_trainer.data.dataset import SPLITS, Dataset, Split
from elastier_trainer.data.encode import FeatureFitter, PartEncoder
from elastier_trainer.data.labels import Labels, TaskFacts, finish_labels
from elastier_trainer.data.leakage import LeakFinder, shared_groups, shared_rows
from elastier_trainer.data.rows import RowFacts, read_facts
from elastier_trainer.data.schema import DataSchema, read_schema
from elastier_trainer.data.split import check_classes, split_rows
from elastier_trainer.data.stream import MEMORY_BYTES, Part, RowStream, open_stream
from elastier_trainer.errors import DataError


def load_dataset(
    data: Path,
    schema: Path,
    *,
    with_teacher_columns: bool = False,
    memory_bytes: int = MEMORY_BYTES,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """Read, check, split and encode a data file; vocabulary and scale are those of its training rows.

    A large file is read in parts, several times, and its encoded inputs are kept in files, which the next call
    for the same data and schema finds.

    Args:
        data: Parquet or CSV file.
        schema: Schema file, see `elastier_trainer.data.schema`.
        with_teacher_columns: Append the schema's teacher-only columns to the others.
        memory_bytes: A table that takes about this much or more is large.
        cache: Folder for encoded inputs of large files; None is `store.cache_folder()`.
        progress: Told after every part of a large file.

    Raises:
        DataError: A file that cannot be read, or rows that do not fit the schema; says column and first row.
    """
    described = read_schema(schema)
    stream = open_stream(data, described.columns, memory_bytes=memory_bytes)
    loader = _Loader(
        stream=stream, schema=described, with_teacher_columns=with_teacher_columns, progress=progress
    )
    digest = digest_files(data, schema)
    if stream.table is not None:
        return loader.to_memory(digest)
    name = f"{digest}-{'teacher' if with_teacher_columns else 'student'}"
    return store.load_or_make(
        (cache or store.cache_folder()) / name, lambda folder: loader.to_folder(folder, digest)
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """All but the encoded inputs."""

    facts: RowFacts
    splits: dict[Split, Tensor]
    labels: Labels
    features: FeatureSchema


@dataclass(frozen=True, kw_only=True)
class _Loader:
    """Passes over one data file: labels and splits, then vocabularies and scales, then the encoding."""

    stream: RowStream
    schema: DataSchema
    with_teacher_columns: bool
    progress: Progress

    def to_memory(self, digest: str) -> Dataset:
        plan = self._plan()
        parts: list[dict[str, NDArray[Any]]] = []
        leaks = self._encode(plan, parts.append)
        (whole,) = parts
        inputs = {name: torch.from_numpy(array) for name, array in whole.items()}
        return self._dataset(plan, inputs, leaks, digest)

    def to_folder(self, folder: Path, digest: str) -> tuple[Dataset, TaskFacts]:
        """Write the encoded inputs to files, never all of them in memory."""
        plan = self._plan()
        with store.ArrayWriter(folder, len(plan.labels.labels_R)) as writer:
            leaks = self._encode(plan, writer.add)
        inputs = {spec.name: store.map_array(folder, spec.name) for spec in plan.features.tensor_specs()}
        return self._dataset(plan, inputs, leaks, digest), plan.labels.facts

    def _plan(self) -> _Plan:
        facts = read_facts(self.stream, self.schema)
        splits = split_rows(self.schema.split, facts.labels.present, facts.keys_R)
        rows = len(facts.labels.values_R)
        train_R, used_R = _mask(rows, splits, ("train",)), _mask(rows, splits, SPLITS)
        labels = finish_labels(facts.labels, train_R, used_R)
        if labels.facts.name == "binary":
            check_classes(labels.labels_R.numpy(), splits)
        categorical = self.schema.categories(with_teacher_columns=self.with_teacher_columns)
        fitter = FeatureFitter(
            categorical, self.schema.numbers(with_teacher_columns=self.with_teacher_columns)
        )
        for part in self._parts("fitting", fitter.columns, len(train_R)):
            fitter.add(part, train_R[part.rows])
        return _Plan(facts=facts, splits=splits, labels=labels, features=fitter.features())

    def _encode(self, plan: _Plan, add: Callable[[dict[str, NDArray[Any]]], None]) -> LeakFinder:
        encoder = PartEncoder(plan.features)
        train_T = plan.splits["train"].numpy()
        labelled_T = train_T[plan.facts.labels.present[train_T]]
        labels = plan.labels
        leaks = LeakFinder(labels.labels_R.numpy(), labelled_T, labels.facts.task())
        for part in self._parts("encoding", plan.features.columns, len(labels.labels_R)):
            inputs = encoder.encode(part)
            add(inputs)
            leaks.add(part.rows, inputs)
        return leaks

    def _dataset(self, plan: _Plan, inputs: dict[str, Tensor], leaks: LeakFinder, digest: str) -> Dataset:
        warnings = _left_out(plan) + leaks.labels_in_disguise(plan.features)
        warnings += shared_rows(leaks.hashes_R(), plan.splits)
        if self.schema.group is not None and plan.facts.groups_R is not None:
            warnings += shared_groups(plan.facts.groups_R, plan.splits, self.schema.group)
        return Dataset(
            features=plan.features,
            inputs=inputs,
            labels_R=plan.labels.labels_R,
            row_ids_R=torch.from_numpy(plan.facts.row_ids_R),
            splits=plan.splits,
            sha256=digest,
            task=plan.labels.facts.task(),
            classes=plan.labels.classes,
            warnings=tuple(warnings),
        )

    def _parts(self, what: str, columns: Sequence[str], rows: int) -> Iterator[Part]:
        for part in self.stream.parts(columns):
            yield part
            if self.stream.table is None:
                self.progress(what, part.rows.stop, rows, f"{part.rows.stop:,} rows")


def digest_files(*paths: Path) -> str:
    """SHA-256 over the SHA-256 of each file, so that bytes cannot move from one file to the next.

    Raises:
        DataError: A file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"{path}: cannot read it: {error.strerror}") from error
    return digest.hexdigest()


def _mask(rows: int, splits: Mapping[Split, Tensor], names: Sequence[Split]) -> NDArray[np.bool_]:
    mask_R = np.zeros(rows, dtype=np.bool_)
    for name in names:
        mask_R[splits[name].numpy()] = True
    return mask_R


def _left_out(plan: _Plan) -> list[str]:
    rows = len(plan.labels.labels_R) - sum(map(len, plan.splits.values()))
    if not rows:
        return []
    return [f"{rows:,} rows without a label fall outside of the train split and are left out"]
