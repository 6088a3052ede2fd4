"""A network as one ONNX graph, whose initializers are called as the parameters are in torch."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from elastier_contract.signature import Signature
from elastier_exporter.errors import GraphError

OPSET = 20
_EXAMPLE_ROWS = 4
_PREFIX = "model."
_NOISE = (
    "`isinstance(treespec, LeafSpec)` is deprecated",
    "# The axis name: rows will not be used",
)
"""Warnings of torch's exporter about itself."""


class _Positional(nn.Module):
    """A module with named inputs as one with positional ones, as an export needs it."""

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = module
        self.names = tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        logits_BC: Tensor = self.model(**dict(zip(self.names, tensors, strict=True)))
        # A module of one output may leave the column out.
        return logits_BC if logits_BC.ndim > 1 else logits_BC[:, None]


def export_graph(module: nn.Module, signature: Signature) -> ir.Model:
    """Export a sub-model by itself; the number of rows stays open.

    The graph is left as it was traced: torch's optimizer merges initializers of equal value and drops biases of
    zero, and then a parameter can no longer be found by its name. ONNX Runtime optimizes at load anyway.

    Returns:
        A graph whose initializers carry the names of `module.state_dict()`.

    Raises:
        GraphError: Torch cannot trace the model, or cannot say it in ONNX.
    """
    traced = _traced(module, signature)
    for name in [name for name in traced.graph.initializers if name.startswith(_PREFIX)]:
        value = traced.graph.initializers.pop(name)
        value.name = name.removeprefix(_PREFIX)
        traced.graph.initializers[value.name] = value
    return traced


def _traced(module: nn.Module, signature: Signature) -> ir.Model:
    names = [spec.name for spec in signature.inputs]
    example = signature.sample_inputs(_EXAMPLE_ROWS, np.random.default_rng(0))
    rows = torch.export.Dim("rows")
    try:
        with _quiet():
            program = torch.onnx.export(
                _Positional(module, names).eval(),
                tuple(torch.from_numpy(example[name]) for name in names),
                dynamo=True,
                optimize=False,
                opset_version=OPSET,
                input_names=names,
                output_names=[spec.name for spec in signature.outputs],
                dynamic_shapes=(tuple({0: rows} for _ in names),),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise GraphError(f"expected a model that torch can export to ONNX, got: {reason}") from error
    if program is None:
        raise GraphError("expected torch.onnx.export to give a program, got none")
    exported: ir.Model = program.model
    return exported


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says about itself, and nothing else."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in _NOISE:
                warnings.filterwarnings("ignore", message=message.replace("(", r"\(").replace(")", r"\)"))
            yield
    finally:
        logger.setLevel(level)
