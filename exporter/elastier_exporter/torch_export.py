"""The TA as one ONNX graph, whose initializers are called as the parameters are in torch."""

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
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.nesting import Widths

OPSET = 20
_EXAMPLE_ROWS = 4
_PREFIX = "model."
_NOISE = (
    "`isinstance(treespec, LeafSpec)` is deprecated",
    "# The axis name: rows will not be used",
)
"""Warnings of torch's exporter about itself."""


class _FixedWidths(nn.Module):
    """A model with positional inputs and widths that are not inputs, as an export needs it."""

    def __init__(self, model: Ranker, names: Sequence[str], widths: Widths) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)
        self.widths = widths

    def forward(self, *tensors: Tensor) -> Tensor:
        logits_B1: Tensor = self.model(dict(zip(self.names, tensors, strict=True)), self.widths)
        return logits_B1


def export_ta(model: Ranker, signature: Signature) -> ir.Model:
    """Export the TA at its full widths; the number of rows stays open.

    The graph is left as it was traced: torch's optimizer merges initializers of equal value and drops biases of
    zero, and then a parameter can no longer be found by its name. ONNX Runtime optimizes at load anyway.

    Returns:
        A graph whose initializers carry the names of `model.state_dict()`.

    Raises:
        GraphError: Torch cannot trace the model, or cannot say it in ONNX.
    """
    ta = _traced(model, signature)
    for name in [name for name in ta.graph.initializers if name.startswith(_PREFIX)]:
        value = ta.graph.initializers.pop(name)
        value.name = name.removeprefix(_PREFIX)
        ta.graph.initializers[value.name] = value
    return ta


def _traced(model: Ranker, signature: Signature) -> ir.Model:
    names = [spec.name for spec in signature.inputs]
    example = signature.sample_inputs(_EXAMPLE_ROWS, np.random.default_rng(0))
    rows = torch.export.Dim("rows")
    try:
        with _quiet():
            program = torch.onnx.export(
                _FixedWidths(model, names, model.full_widths).eval(),
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
        raise GraphError(f"expected a TA that torch can export to ONNX, got: {reason}") from error
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
