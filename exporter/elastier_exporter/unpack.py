"""A tier of a bundle as one ordinary ONNX file, with its weights in it. Needs no torch."""

from pathlib import Path

import onnx
import onnx_ir as ir

from elastier_contract import atomic
from elastier_contract.bundle import Bundle, held_bundle
from elastier_contract.tier import Tier
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
    with held_bundle(path) as bundle:
        tier = bundle.manifest.tier(name)
        if tier is None:
            names = [known.name for known in bundle.manifest.tiers]
            raise TierError(f"expected a tier of {names}, got {name!r}")
        write_alone(bundle, tier, out)
    return out


def write_alone(bundle: Bundle, tier: Tier, out: Path) -> None:
    """Write a tier of an opened bundle as an ONNX file that needs no other file.

    Raises:
        TierError: It is too large for one file.
    """
    try:
        content: bytes = ir.to_proto(load_tier(bundle, tier)).SerializeToString()
    except ValueError as error:
        raise TierError(
            f"tier {tier.name!r}: expected less than {onnx.checker.MAXIMUM_PROTOBUF:,} bytes, as ONNX can have in "
            f"one file: {error}"
        ) from error
    atomic.write_file(out, content)
