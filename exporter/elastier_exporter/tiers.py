"""The graphs and weights of a bundle: the TA exported once, every tier from it.

A tier that keeps all blocks and the whole model dimension is the TA's graph with shorter initializers. Another is
exported by itself; what it keeps is still taken from the shared weights, as far as it is a prefix there.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from elastier_contract.signature import Signature
from elastier_exporter.errors import GraphError
from elastier_exporter.slicing import Slices, check_sliceable, point_at_weights, shares_graph, slice_tier
from elastier_exporter.torch_export import export_graph
from elastier_exporter.weights import Range, WeightsFile, weights_file
from elastier_trainer.submodel import Ladder, NestedModel, ParameterSlice, Submodel

TIERS_FOLDER = "tiers"


def write_tiers(
    folder: Path, model: NestedModel, ladder: Ladder, signature: Signature, told: Callable[[str], None]
) -> dict[str, str]:
    """Write the weights file and every tier's graph into the bundle in `folder`.

    Args:
        folder: The bundle that is being made.
        model: The nested model.
        ladder: Its tiers, the TA last.
        signature: Inputs and outputs of every tier.
        told: Told when the TA and each tier is written.

    Returns:
        Tier name → path of its graph in the bundle.

    Raises:
        GraphError: The TA's graph cannot be exported or sliced.
    """
    weights = {name: parameter.detach().numpy() for name, parameter in _parameters(model)}
    slices = {name: model.slices(submodel) for name, submodel in ladder.students.items()}
    ta_slices = model.slices(model.full)
    ta = export_graph(model.extract(model.full), signature)
    sharing = {name: tier for name, tier in slices.items() if shares_graph(tier, ta_slices)}
    check_sliceable(ta, ta_slices, list(sharing.values()), weights)
    (folder / TIERS_FOLDER).mkdir()
    graphs = {}
    with weights_file(folder) as file:
        ranges = {name: file.append(name, array) for name, array in weights.items()}
        told("TA")
        for name, submodel in ladder.students.items():
            if name in sharing:
                graph = slice_tier(ta, slices[name], ranges)
            else:
                graph = _separate_tier(model, submodel, signature, ranges, weights, file)
            graphs[name] = f"{TIERS_FOLDER}/{name}.onnx"
            ir.save(graph, folder / graphs[name])
            told(name)
    return graphs


def _separate_tier(
    model: NestedModel,
    submodel: Submodel,
    signature: Signature,
    ranges: Mapping[str, Range],
    weights: Mapping[str, NDArray[np.float32]],
    file: WeightsFile,
) -> ir.Model:
    """The graph of a sub-model that is exported by itself; what is no prefix of a shared weight is appended."""
    extracted = model.extract(submodel)
    graph = export_graph(extracted, signature)
    tensors = {}
    for name, array, part in _matched(extracted, model.slices(submodel)):
        if name not in graph.graph.initializers:
            continue  # what the forward pass does not use, torch leaves out
        whole = weights[part.source]
        place = ranges[part.source]
        if part.shape[1:] != whole.shape[1:] or not np.array_equal(array, whole[: part.shape[0]]):
            place = file.append(name, array)
        tensors[name] = place.tensor(name, part.shape)
    point_at_weights(graph, tensors)
    return graph


def _matched(
    extracted: nn.Module, slices: Slices
) -> Iterator[tuple[str, NDArray[np.float32], ParameterSlice]]:
    """Name, value and slice of each parameter of an extracted sub-model."""
    parameters = list(extracted.named_parameters())
    if [tuple(tensor.shape) for _, tensor in parameters] != [part.shape for part in slices.values()]:
        raise GraphError(
            "expected the slices of a sub-model in the order and shapes of its extracted parameters, got "
            f"{[part.source for part in slices.values()]} for {[name for name, _ in parameters]}"
        )
    for (name, tensor), part in zip(parameters, slices.values(), strict=True):
        yield name, tensor.detach().numpy(), part


def _parameters(model: NestedModel) -> Iterator[tuple[str, nn.Parameter]]:
    if not isinstance(model, nn.Module):
        raise GraphError(f"expected a nested torch module, got {type(model).__name__}")
    return model.named_parameters()
