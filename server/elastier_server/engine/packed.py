"""Do the packed weights of a bundle (layout D) fit this ONNX Runtime and this processor?

Where they do not, every session packs for itself: answers are right and as fast, but each tier has a copy of its own.
"""

import logging
import re
import tempfile
from pathlib import Path

import onnxruntime as ort

from elastier_contract.bundle import Bundle
from elastier_contract.layout import packing_config
from elastier_server.engine.ort import session_options

log = logging.getLogger(__name__)

MAX_PACKED_BYTES = 256 * 2**20
"""Of raw and packed weights of the smallest tier, which are written to a temporary folder."""

_KEY = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\+\d+\|")
"""What ONNX Runtime calls packed weights by, inside a graph: the operator, and a hash of the packed bytes."""


def weights_are_shared(bundle: Bundle) -> bool:
    """Whether tiers run on the weights in the bundle's file; says so once if they do not.

    The smallest tier that has packed weights is packed anew in a temporary folder, and the keys are compared. Where
    that cannot be, weights are taken to fit the ONNX Runtime that packed them.
    """
    manifest = bundle.manifest
    if manifest.packed_on is None:
        return True
    shared: bool = manifest.packed_on.onnxruntime == ort.__version__
    try:
        shared = _keys_fit(bundle)
    except (OSError, _TooLargeError) as error:
        log.warning("%s: cannot pack weights to compare them: %s", bundle.path, error)
    if not shared:
        log.warning(
            "%s: its packed weights fit ONNX Runtime %s on %s, not %s here: every tier makes a copy of its own; "
            "`elastier repack` makes them fit",
            bundle.path,
            manifest.packed_on.onnxruntime,
            manifest.packed_on.processor,
            ort.__version__,
        )
    return shared


class _TooLargeError(Exception):
    """A tier has more weights than should be written to a temporary folder."""


def _keys_fit(bundle: Bundle) -> bool:
    for tier in bundle.manifest.tiers:
        graph = bundle.graph_path(tier).read_bytes()
        keys = set(_KEY.findall(graph))
        if keys:
            size = sum(weight.bytes for weight in bundle.manifest.weights if tier.name in weight.tiers)
            if size > MAX_PACKED_BYTES:
                raise _TooLargeError(f"{tier.name} has {size:,} bytes of them, at most {MAX_PACKED_BYTES:,}")
            return keys == _packed_anew(bundle, graph)
    return True


def _packed_anew(bundle: Bundle, graph: bytes) -> set[bytes]:
    """The keys that ONNX Runtime gives here to a graph's packed weights."""
    # With a key that it does not know it packs by itself.
    unknown = _KEY.sub(lambda key: re.sub(rb"\d", lambda digit: b"%d" % (9 - int(digit[0])), key[0]), graph)
    with tempfile.TemporaryDirectory(prefix="elastier-packed-") as scratch:
        options = session_options(bundle, threads=1)
        options.optimized_model_filepath = f"{scratch}/packed.onnx"
        for key, value in packing_config("packed.bin").items():
            options.add_session_config_entry(key, value)
        ort.InferenceSession(unknown, options, providers=["CPUExecutionProvider"])
        return set(_KEY.findall((Path(scratch) / "packed.onnx").read_bytes()))
