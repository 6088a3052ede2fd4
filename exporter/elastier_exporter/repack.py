"""A bundle's weights laid out anew: for this ONNX Runtime and processor, or in the other layout. Needs no torch."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from elastier_contract.bundle import Bundle, held_bundle, new_bundle, open_bundle, seal, unsealed
from elastier_contract.errors import BundleCorruptError
from elastier_contract.layout import DEFAULT_LAYOUT, WEIGHTS_FILE, Layout
from elastier_contract.machine import describe_machine
from elastier_contract.progress import Progress, counted, no_progress
from elastier_contract.tier import Tier
from elastier_exporter.tiers import graphs_of, write_tiers


def repack_bundle(
    path: Path, out: Path | None = None, *, layout: Layout = DEFAULT_LAYOUT, progress: Progress = no_progress
) -> Bundle:
    """Write a bundle again, its weights packed by the ONNX Runtime that is here.

    All else stays as it is, the latency profile too.

    Args:
        path: The bundle.
        out: Where to write it; None replaces it.
        layout: How weights are to lie.
        progress: Told after every tier.

    Raises:
        BundleError: No sound bundle there.
        GraphError: ONNX Runtime refuses a graph.
    """
    with held_bundle(path) as bundle, new_bundle(path if out is None else out) as folder:
        manifest = bundle.manifest
        told = counted(progress, "repack", len(manifest.tiers))
        graphs = ((tier.name, load_tier(bundle, tier)) for tier in reversed(manifest.tiers))
        weights = write_tiers(folder, graphs, layout, told)
        changed = {
            "layout": layout,
            "weights": weights,
            "packed_on": describe_machine(ort.__version__) if layout == "d" else None,
            "tiers": tuple(
                tier.model_copy(update=graphs_of(tier.name, layout)._asdict()) for tier in manifest.tiers
            ),
        }
        seal(folder, bundle.profile, **(unsealed(manifest) | changed))
    return open_bundle(path if out is None else out)


def load_tier(bundle: Bundle, tier: Tier) -> ir.Model:
    """The plain graph of a tier; its raw weights are mapped from the bundle.

    Raises:
        BundleCorruptError: The graph refers to something else than a range of the bundle's weights file.
    """
    graph = tier.plain or tier.graph
    model = ir.load(bundle.path / graph)
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            if str(tensor.location) != WEIGHTS_FILE:
                raise BundleCorruptError(
                    f"{graph}: expected {name!r} in {WEIGHTS_FILE}, got {tensor.location}"
                )
            try:
                mapped = np.memmap(
                    bundle.weights_path,
                    dtype=tensor.dtype.numpy(),
                    mode="r",
                    offset=tensor.offset or 0,
                    shape=tuple(tensor.shape.numpy()),
                )
            except (ValueError, OverflowError) as error:
                raise BundleCorruptError(
                    f"{graph}: {name!r} is no range of {WEIGHTS_FILE}: {error}"
                ) from error
            value.const_value = ir.Tensor(mapped, name=name)
    return model
