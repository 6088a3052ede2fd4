"""A teacher that is an ONNX file, run by ONNX Runtime.

Shapes: B rows of a batch, C outputs a row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from elastier_contract.features import CATEGORICAL, NUMERIC
from elastier_trainer.errors import ConfigError, DataError
from elastier_trainer.teachers.network import Answer
from elastier_trainer.teachers.source import OnnxTeacher

if TYPE_CHECKING:
    import onnxruntime as ort

OUTPUT = "logits"
_TYPES = {CATEGORICAL: "tensor(int64)", NUMERIC: "tensor(float)"}


def open_onnx(source: OnnxTeacher, inputs: Mapping[str, Tensor]) -> Answer:
    """Open an ONNX file, its signature checked against these inputs.

    It needs `categorical` int64 [B, columns] or `numeric` float32 [B, columns] or both, any number of rows,
    and one output, or one of several named `logits`.

    Raises:
        ConfigError: ONNX Runtime is not installed, the file cannot be opened, or its signature is another.
    """
    runtime, failures = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not source.onnx.is_file():
        raise ConfigError(f"onnx {source.onnx}: expected an ONNX file, found none")
    try:
        session = runtime.InferenceSession(source.onnx, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise ConfigError(f"onnx {source.onnx}: expected an ONNX file, cannot open it: {error}") from error
    names = [_checked_input(source, node, inputs) for node in session.get_inputs()]
    output = _output_name(source.onnx, [node.name for node in session.get_outputs()])

    def answer(batch: Mapping[str, Tensor]) -> Any:
        try:
            found = session.run([output], {name: batch[name].numpy() for name in names})[0]
        except failures as error:
            raise DataError(f"onnx {source.onnx}: cannot run it on these rows: {error}") from error
        return torch.from_numpy(found)

    return answer


def external_files(path: Path) -> list[Path]:
    """Files beside an ONNX file that hold its large tensors, sorted.

    Raises:
        ConfigError: No ONNX file.
    """
    try:
        import onnx_ir as ir  # noqa: PLC0415
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed("onnx_ir") from error
    try:
        model = ir.load(path, format="protobuf")
    except (OSError, DecodeError) as error:
        raise ConfigError(f"onnx {path}: expected an ONNX file, cannot open it: {error}") from error
    tensors = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    return sorted({Path(tensor.path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)})


def _runtime() -> tuple[Any, tuple[type[Exception], ...]]:
    try:
        import onnxruntime as ort  # noqa: PLC0415
        from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415
    except ImportError as error:
        raise _not_installed("onnxruntime") from error
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NotImplemented",
        "RuntimeException",
    )
    return ort, tuple(getattr(state, name) for name in names)


def _not_installed(library: str) -> ConfigError:
    return ConfigError(
        f"an ONNX teacher needs {library}, which is not installed: pip install elastier[export]"
    )


def _checked_input(source: OnnxTeacher, node: "ort.NodeArg", inputs: Mapping[str, Tensor]) -> str:
    name = str(node.name)
    if name not in inputs:
        raise ConfigError(f"onnx {source.onnx}: expected inputs among {list(inputs)}, got {name!r}")
    if node.type != _TYPES[name]:
        raise ConfigError(f"onnx {source.onnx}: input {name!r}: expected {_TYPES[name]}, got {node.type}")
    columns = inputs[name].shape[1]
    rows_free = len(node.shape) == 2 and not isinstance(node.shape[0], int)
    if not rows_free or (isinstance(node.shape[1], int) and node.shape[1] != columns):
        hint = "with" if source.teacher_columns else "without"
        raise ConfigError(
            f"onnx {source.onnx}: input {name!r}: expected any number of rows of {columns} columns "
            f"({hint} teacher-only ones, since teacher_columns is {str(source.teacher_columns).lower()}), "
            f"got shape {node.shape}"
        )
    return name


def _output_name(path: Path, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    if OUTPUT not in names:
        raise ConfigError(f"onnx {path}: expected one output or one named {OUTPUT!r}, got {names}")
    return OUTPUT
