"""What the server needs of an engine."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


class Engine(Protocol):
    """Runs one tier of a model at a time."""

    def run(self, tier: int, inputs: Tensors) -> Tensors:
        """Run a batch on the tier of that index: input name → array, output name → array, rows first."""
        ...
