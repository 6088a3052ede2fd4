"""The graphs and the weights file of a bundle, from tiers by themselves: what they share is stored once."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from elastier_contract.layout import INLINE_BYTES, WEIGHTS_FILE, Layout
from elastier_contract.manifest import WeightRange
from elastier_exporter.packing import pack
from elastier_exporter.weights import WeightsFile, weights_file

TIERS_FOLDER, PLAIN_FOLDER = "tiers", "plain"


def write_tiers(
    folder: Path, tiers: Iterable[tuple[str, ir.Model]], layout: Layout, told: Callable[[str], None]
) -> tuple[WeightRange, ...]:
    """Write the weights file and every tier's graph into the bundle in `folder`.

    Args:
        folder: The bundle that is being made.
        tiers: Name and graph of each, weights in it, the largest first; graphs are changed.
        layout: How weights are to lie.
        told: Told when a tier is written.

    Returns:
        What the weights file holds, and who uses it.

    Raises:
        GraphError: ONNX Runtime cannot pack a tier.
    """
    (folder / TIERS_FOLDER).mkdir()
    if layout == "d":
        (folder / PLAIN_FOLDER).mkdir()
    with weights_file(folder) as file:
        for name, model in tiers:
            graphs = graphs_of(name, layout)
            _externalize(model, name, file)
            ir.save(model, folder / (graphs.plain or graphs.graph))
            if graphs.plain is not None:
                pack(folder, graphs.plain, graphs.graph, name, file)
            told(name)
        return file.ranges


class Graphs(NamedTuple):
    """Paths of a tier's graphs in its bundle, as `Tier` has them."""

    graph: str
    plain: str | None


def graphs_of(tier: str, layout: Layout) -> Graphs:
    """Where a tier's graphs lie."""
    plain = f"{PLAIN_FOLDER}/{tier}.onnx" if layout == "d" else None
    return Graphs(graph=f"{TIERS_FOLDER}/{tier}.onnx", plain=plain)


def _externalize(model: ir.Model, tier: str, file: WeightsFile) -> None:
    """Move all large initializers of a graph into the weights file."""
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < INLINE_BYTES or tensor.dtype == ir.DataType.STRING:
            continue
        content = np.frombuffer(tensor.tobytes(), dtype=np.uint8)
        value.const_value = ir.ExternalTensor(
            WEIGHTS_FILE,
            file.place(tier, name, "raw", content),
            len(content),
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
        )
