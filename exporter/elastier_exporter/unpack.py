"""A tier of a bundle as one ordinary ONNX file, with its weights in it. Needs no torch."""

from pathlib import Path

import onnx
import onnx_ir as ir

from elastier_contract import atomic
from elastier_contract.bundle import open_bundle
from elastier_exporter.errors import TierError
from elastier_exporter.repack import load_tier


def unpack_tier(path: Path, name: str, out: Path) -> Path:
    """Write a tier as an ONNX file that needs no other file; an older file there is replaced.

    Args:
        path: The bundle.
        name: The tier's name.
        out: The ONNX file.

    Returns:
        The ONNX file.

    Raises:
        BundleError: No sound bundle there.
        TierError: No such tier, or one that is too large for one file.
    """
    bundle = open_bundle(path)
    tier = bundle.manifest.tier(name)
    if tier is None:
        raise TierError(f"expected a tier of {[known.name for known in bundle.manifest.tiers]}, got {name!r}")
    model = load_tier(bundle, tier)
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=value.name)
    try:
        content: bytes = ir.to_proto(model).SerializeToString()
    except ValueError as error:
        raise TierError(
            f"tier {name!r}: expected less than {onnx.checker.MAXIMUM_PROTOBUF:,} bytes, as ONNX can have in one "
            f"file: {error}"
        ) from error
    atomic.write_file(out, content)
    return out
