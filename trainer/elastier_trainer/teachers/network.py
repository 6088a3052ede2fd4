"""A teacher that is a torch network: a module by import path, or the model of a trained run.

Shapes: B rows of a batch, C outputs a row.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elastier_contract.features import FeatureSchema
from elastier_trainer.errors import ConfigError
from elastier_trainer.submodel import Submodel
from elastier_trainer.teachers.source import CheckpointTeacher, ModuleTeacher
from elastier_trainer.trained import TrainedModel, load_weights

Answer = Callable[[Mapping[str, Tensor]], Any]
"""From a batch's inputs to what should be its logits, [B, C] or [B]; not yet checked."""


def open_module(source: ModuleTeacher, features: FeatureSchema) -> Answer:
    """Import, build and load a module, frozen and in evaluation mode.

    Torch's random numbers are the same on every call and not used up, so that weights which the factory draws
    are drawn alike when a run is resumed.

    Raises:
        ConfigError: No such module or attribute, or the factory returns something else than a module that
            takes these inputs.
        CheckpointError: Weights that cannot be read or are another module's.
    """
    with _working_folder_importable(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = _factory(source.module)(features)
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"module {source.module}: expected the factory to return a torch.nn.Module, "
            f"got a {type(module).__name__}"
        )
    _check_inputs(module, source, features)
    if source.weights is not None:
        load_weights(module, source.weights)
    module.eval().requires_grad_(requires_grad=False)

    def answer(inputs: Mapping[str, Tensor]) -> Any:
        return module(**inputs)

    return answer


def open_student(source: CheckpointTeacher, trained: TrainedModel) -> Answer:
    """One student of a trained model, or its TA, frozen and in evaluation mode.

    Raises:
        ConfigError: The run has no student of that name.
    """
    model, submodel = trained.model, _submodel(source, trained)
    model.eval().requires_grad_(requires_grad=False)

    def answer(inputs: Mapping[str, Tensor]) -> Any:
        return model.logits(inputs, [submodel])[0]

    return answer


def module_file(source: ModuleTeacher) -> Path:
    """The file that a module's code lies in.

    Raises:
        ConfigError: No such module, or one that is no file.
    """
    name = source.module.partition(":")[0]
    with _working_folder_importable():
        origin = getattr(_import(name, source.module), "__file__", None)
    if origin is None:
        raise ConfigError(f"module {source.module}: expected {name} to be a Python file, it has none")
    return Path(origin)


def _factory(path: str) -> Callable[[FeatureSchema], Any]:
    name, _, attribute = path.partition(":")
    module = _import(name, path)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        found = "nothing" if factory is None else f"a {type(factory).__name__}"
        raise ConfigError(f"module {path}: expected a factory {attribute!r} in {name}, found {found}")
    return factory  # type: ignore[no-any-return]


def _check_inputs(module: nn.Module, source: ModuleTeacher, features: FeatureSchema) -> None:
    names = [spec.name for spec in features.tensor_specs()]
    try:
        inspect.signature(module.forward).bind(**dict.fromkeys(names))
    except TypeError as error:
        raise ConfigError(
            f"module {source.module}: expected its forward to take the inputs {names} by name: {error}"
        ) from error


def _import(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"module {path}: cannot import {name}: {error}") from error


@contextmanager
def _working_folder_importable() -> Iterator[None]:
    """Let a module in the working folder be found, after all that is installed."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added:
            sys.path.remove(folder)


def _submodel(source: CheckpointTeacher, trained: TrainedModel) -> Submodel:
    students = trained.ladder.students
    if source.student is None:
        return trained.ladder.ta
    if source.student not in students:
        raise ConfigError(
            f"checkpoint {source.checkpoint}: expected one of its students {list(students)}, "
            f"got {source.student!r}"
        )
    return students[source.student]
