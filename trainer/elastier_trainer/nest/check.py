"""Try a nested module out on example rows: does a narrower pair, or a block left out, mean what it should?

Shapes: B rows, C outputs, h hidden units in use.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elastier_trainer.errors import ConfigError
from elastier_trainer.nest.module import NestedModule, as_columns
from elastier_trainer.submodel import Inputs, Submodel

TOLERANCE = 1e-4


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run a module in evaluation mode without gradients, then put every layer back into the mode it was in."""
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode


def check_widths(nested: NestedModule, inputs: Inputs) -> None:
    """Narrowing a pair to half its units must equal silencing the other half in its last layer.

    This fails if the hidden activation is used outside of the pair, or if something between its layers mixes units.

    Raises:
        ConfigError: It is not so.
    """
    full = nested.full
    for block, hidden in enumerate(nested.hidden):
        half = hidden.units // 2
        if half == 0:
            continue
        widths = tuple(half if i == block else units for i, units in enumerate(full.widths))
        label = " → ".join((*hidden.makers, hidden.consumer))
        with evaluating(nested):
            silenced = _silenced(nested, f"{hidden.consumer}.weight", half, inputs)
            try:
                narrow = _first(nested, Submodel(widths=widths, layers=full.layers, model_dim=0), inputs)
            except RuntimeError as error:
                raise ConfigError(
                    f"{label} does not work with {half} of its {hidden.units} hidden units: {error}. "
                    "Are they used elsewhere too, or is a layer between missing in the pair?"
                ) from error
        if narrow.shape != silenced.shape or not torch.allclose(
            narrow, silenced, rtol=TOLERANCE, atol=TOLERANCE
        ):
            raise ConfigError(
                f"{label} with {half} of its {hidden.units} hidden units differs from the whole with the others "
                "silenced: its hidden units are used elsewhere too, or something between the layers mixes them"
            )


def check_depth(nested: NestedModule, inputs: Inputs) -> None:
    """Every block that may be left out must keep its input's shape, and not run when it is left out.

    Raises:
        ConfigError: It is not so.
    """
    if nested.depth is None:
        return
    full = nested.full
    ran: dict[str, str] = {}
    with ExitStack() as stack, evaluating(nested):
        for key in nested.blocks:
            name = f"{nested.depth}.{key}"

            def note(_: nn.Module, args: tuple[Tensor, ...], output: object, name: str = name) -> None:
                before, after = (
                    getattr(x, "shape", type(x).__name__) for x in (args[0] if args else None, output)
                )
                ran[name] = "" if before == after else f"{before} → {after}"

            stack.callback(nested.module.get_submodule(name).register_forward_hook(note).remove)
        _first(nested, full, inputs)
        for key in nested.blocks:
            change = ran.get(f"{nested.depth}.{key}", "it did not run")
            if change:
                raise ConfigError(
                    f"expected block {nested.depth}.{key} to take a tensor as its first argument and to keep its "
                    f"shape, so that it can be left out, got {change}"
                )
        ran.clear()
        _first(nested, Submodel(widths=full.widths[:1], layers=(0,), model_dim=0), inputs)
        if len(ran) > 1:
            raise ConfigError(
                f"blocks ran although left out: the module does not reach them by {nested.depth!r}"
            )


def _first(nested: NestedModule, submodel: Submodel, inputs: Inputs) -> Tensor:
    return nested.logits(inputs, [submodel])[0]


def _silenced(nested: NestedModule, weight: str, half: int, inputs: Inputs) -> Tensor:
    """Outputs [B, C] of the TA, with all but the first hidden units of one pair without effect."""
    silent = nested.module.get_parameter(weight).clone()
    silent[:, half:] = 0
    return as_columns(
        functional_call(nested.module, {weight: silent}, kwargs=dict(inputs), tie_weights=False)
    )
