"""How a bundle's weights lie in its one weights file, and what ONNX Runtime must be told to share them."""

from pathlib import Path
from typing import Literal

Layout = Literal["a", "d"]
"""A: tiers run on the raw weights. D: on weights packed for matrix products, which lie in the file too."""

DEFAULT_LAYOUT: Layout = "d"

WEIGHTS_FILE = "weights.bin"
ALIGNMENT_BYTES = 4096
"""Weights begin on a page, so that every session maps the same pages."""

INLINE_BYTES = 256
"""Shorter initializers stay in the graph: ONNX Runtime must read shapes and axes before it opens other files."""

GRAPH_OPTIMIZATION = 2
"""ONNX Runtime's extended level: above it graphs are laid out for one processor, and packed weights depend on that."""

_ERRORS_ONLY = 3

_SESSION_CONFIG: dict[Layout, dict[str, str]] = {
    # Prepacking copies every weight into each session; without it all tiers run on the mapped file.
    "a": {"session.disable_prepacking": "1"},
    # It packs, finds the same bytes in the file, and maps those.
    "d": {},
}


def session_config(layout: Layout, folder: Path) -> dict[str, str]:
    """ONNX Runtime session config entries under which the tiers of a bundle in `folder` are run."""
    return {
        # The graphs lie one folder below the weights, and ONNX Runtime refuses `..` in a location.
        "session.model_external_initializers_file_folder_path": str(folder),
        # A spinning pool per tier would steal the cores from the tier that runs.
        "session.intra_op.allow_spinning": "0",
        **_SESSION_CONFIG[layout],
    }


def packing_config(blob: str) -> dict[str, str]:
    """Further entries under which a session with an `optimized_model_filepath` leaves its packed weights.

    Args:
        blob: The file beside the optimized model that they are left in, with its other weights.
    """
    return {
        "session.optimized_model_external_initializers_file_name": blob,
        "session.optimized_model_external_initializers_min_size_in_bytes": str(INLINE_BYTES),
        "session.save_external_prepacked_constant_initializers": "1",
    }


def session_attributes(threads: int) -> dict[str, int | bool]:
    """Attributes of ONNX Runtime's session options under which tiers are measured and served."""
    return {
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "enable_cpu_mem_arena": False,  # it grows with every new batch size
        "log_severity_level": _ERRORS_ONLY,
    }
