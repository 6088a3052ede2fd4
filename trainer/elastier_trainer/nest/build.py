"""`nest`: from a module and a spec to a nested module, with a check by example that narrowing means what it should.

Shapes: C outputs, H hidden units.
"""

from torch import nn

from elastier_trainer.nest.check import check_depth, check_widths
from elastier_trainer.nest.module import NestedModule, Same, Zero
from elastier_trainer.nest.spec import NestSpec, blocks_of, resolve
from elastier_trainer.submodel import Inputs


def nest(module: nn.Module, spec: NestSpec, example_inputs: Inputs | None = None) -> NestedModule:
    """Make an ordinary module nested; the module is wrapped, not copied or changed, and keeps its parameters.

    Args:
        module: Called as `module(**inputs)`, gives outputs [B, C] or [B].
        spec: Which layers share a hidden dimension, and which blocks may be left out.
        example_inputs: A few rows, with which every pair and block is tried out: a narrower pair must give what the
            whole one gives with its other hidden units silenced. Without them a hidden dimension that is used
            outside of its pair is only noticed if PyTorch refuses its shape.

    Raises:
        ConfigError: The spec does not fit the module.
    """
    hidden = resolve(module, spec)
    blocks = blocks_of(module, spec.depth, hidden) if spec.depth is not None else ()
    skipped = Same() if spec.residual == "inside" else Zero()
    nested = NestedModule(module, hidden, depth=spec.depth, blocks=blocks, skipped=skipped)
    if example_inputs is not None:
        check_widths(nested, example_inputs)
        check_depth(nested, example_inputs)
    return nested
