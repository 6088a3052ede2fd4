"""Teachers to ask, and a data set to ask them about."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from elastier_trainer.data.dataset import Dataset
from elastier_trainer.teachers.answer import teacher_logits
from elastier_trainer.teachers.source import parse_source
from support.rows import SCHEMA

TEACHER_SCHEMA = SCHEMA + "teacher_only: {categorical: [gate], numeric: [traffic]}\n"
Ask = Callable[[Any], Tensor]

MODULE = """
import torch
from torch import nn

class Teacher(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.columns = features.columns
        self.dropout = nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.rand(1))

    def forward(self, *, categorical, numeric):
        assert not torch.is_grad_enabled()
        return self.dropout(self.scale * numeric[:, -1:] + categorical.sum(dim=1, keepdim=True))

class Broken(Teacher):
    def __init__(self, features, answer):
        super().__init__(features)
        self.answer = answer

    def forward(self, **inputs):
        return self.answer(super().forward(**inputs))

def flat(features): return Broken(features, lambda x: x[:, 0])
def wide(features): return Broken(features, lambda x: x.expand(-1, 3))
def short(features): return Broken(features, lambda x: x[1:])
def whole(features): return Broken(features, lambda x: x.long())
def listed(features): return Broken(features, lambda x: x.tolist())
def infinite(features): return Broken(features, lambda x: x / (torch.arange(len(x)) != 7).unsqueeze(1))
class Numeric(Teacher):
    def forward(self, numeric):
        return numeric

def nothing(features): return "a teacher"
number = 3
"""
"""A file of torch teachers, and of what is none."""


def asking(dataset: Dataset, data: Path, schema: Path) -> Ask:
    """Asks a source, given as plain values, about this data set."""

    def ask(document: Any) -> Tensor:
        return teacher_logits(parse_source(document), dataset, data=data, schema=schema)

    return ask


def write_onnx(
    path: Path,
    *,
    columns: int | str = 3,
    kind: int = TensorProto.FLOAT,
    name: str = "numeric",
    rows: int | str = "rows",
    outputs: tuple[str, ...] = ("score",),
    external: bool = False,
) -> None:
    """A graph that multiplies its numbers by 1, 2, …, and also takes ids, which it ignores."""
    width = columns if isinstance(columns, int) else 3
    weights = np.arange(1, width + 1, dtype=np.float64).reshape(width, 1)
    tensor = numpy_helper.from_array(weights.astype(helper.tensor_dtype_to_np_dtype(kind)), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "weights"], [output]) for output in outputs],
        "teacher",
        [helper.make_tensor_value_info(name, kind, [rows, columns])],
        [helper.make_tensor_value_info(output, kind, [rows, 1]) for output in outputs],
        [tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path, save_as_external_data=external, location=f"{path.name}.data", size_threshold=0)
