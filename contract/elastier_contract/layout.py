"""How a bundle's weights lie in its one weights file, and what ONNX Runtime must be told to share them."""

from pathlib import Path
from typing import Literal

Layout = Literal["a", "d"]
"""A: tiers run on the raw weights. D: on weights packed for matrix products, which lie in the file too."""

WEIGHTS_FILE = "weights.bin"
ALIGNMENT_BYTES = 4096
"""Weights begin on a page, so that every session maps the same pages."""

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


def session_attributes(threads: int) -> dict[str, int | bool]:
    """Attributes of ONNX Runtime's session options under which tiers are measured and served."""
    return {
        "intra_op_num_threads": threads,
        "inter_op_num_threads": 1,
        "enable_cpu_mem_arena": False,  # it grows with every new batch size
        "log_severity_level": _ERRORS_ONLY,
    }
