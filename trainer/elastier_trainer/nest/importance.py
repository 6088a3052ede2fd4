"""Sort hidden units so that the most important come first: a prefix of a pretrained network is then a good start.

A unit's importance is how much its last layer gets from it: the root mean square of its activation over the
calibration rows, times the norm of the weights that consume it (activation-based pruning, as in Minitron,
arXiv 2407.14679).

Shapes: B rows (and positions), C outputs, H hidden units.
"""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from elastier_trainer.errors import ConfigError
from elastier_trainer.nest.check import TOLERANCE, evaluating
from elastier_trainer.nest.module import as_columns
from elastier_trainer.nest.spec import Hidden, NestSpec, resolve
from elastier_trainer.submodel import Inputs


def sort_by_importance(module: nn.Module, spec: NestSpec, calibration_inputs: Inputs) -> None:
    """Permute the hidden units of every pair in place, the most important first; outputs stay what they were.

    Sort before an optimizer is made: its state would not be permuted.

    Args:
        module: A pretrained module.
        spec: Its pairs.
        calibration_inputs: Some hundred rows like those it will see, passed as `module(**calibration_inputs)`.

    Raises:
        ConfigError: The spec does not fit the module, or its outputs would change; the module is then as before.
    """
    hidden = resolve(module, spec)
    before_BC = _outputs(module, calibration_inputs)
    scores = importance(module, hidden, calibration_inputs)
    orders = [scores_H.argsort(descending=True, stable=True) for scores_H in scores]
    for one, order_H in zip(hidden, orders, strict=True):
        _permute(module, one, order_H)
    if torch.allclose(before_BC, _outputs(module, calibration_inputs), rtol=TOLERANCE, atol=TOLERANCE):
        return
    for one, order_H in zip(hidden, orders, strict=True):
        _permute(module, one, order_H.argsort())
    raise ConfigError(
        "expected outputs to stay as they are when hidden units change places, but they do not: "
        "some hidden units are used outside of their pair, or a layer between is missing in it"
    )


def importance(module: nn.Module, hidden: Sequence[Hidden], inputs: Inputs) -> list[Tensor]:
    """Importance [H] of the units of each pair, in evaluation mode, in one pass over the rows.

    Raises:
        ConfigError: The last layer of a pair did not run.
    """
    square_H: dict[str, Tensor] = {}
    with ExitStack() as stack, evaluating(module):
        for one in hidden:

            def note(_: nn.Module, args: tuple[Tensor, ...], name: str = one.consumer) -> None:
                units_BH = args[0].detach().flatten(end_dim=-2)
                square_H[name] = square_H.get(name, 0) + units_BH.square().sum(dim=0)

            consumer = module.get_submodule(one.consumer)
            stack.callback(consumer.register_forward_pre_hook(note).remove)
        rows = len(next(iter(inputs.values())))
        module(**inputs)
    missing = [one.consumer for one in hidden if one.consumer not in square_H]
    if missing:
        raise ConfigError(f"expected every pair to run on the calibration rows, but {missing[0]} did not")
    norms_H = [module.get_parameter(f"{one.consumer}.weight").detach().norm(dim=0) for one in hidden]
    return [(square_H[one.consumer] / rows).sqrt() * n for one, n in zip(hidden, norms_H, strict=True)]


def _outputs(module: nn.Module, inputs: Inputs) -> Tensor:
    """Outputs [B, C] in evaluation mode."""
    with evaluating(module):
        return as_columns(module(**inputs))


def _permute(module: nn.Module, hidden: Hidden, order_H: Tensor) -> None:
    """Put the hidden units of one pair into another order, wherever their numbers are."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, axis in hidden.axes.items():
            tensors[name].copy_(tensors[name].index_select(axis, order_H))
