"""An optimizer's state as named tensors and plain JSON values, so that nothing is ever pickled.

State is a tree of tensors, lists, numbers and None. The preconditioner objects of `pytorch_optimizer` are
trees too: what changes in them are the attributes of `CHANGING`; the rest follows from the configuration.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from elastier_trainer.errors import CheckpointError

CHANGING = ("momentum", "statistics", "pre_conditioners")
"""Attributes of the preconditioner and graft objects of `pytorch_optimizer` that hold state."""


def encode(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A piece of state as a JSON value; its tensors are put into `tensors` under `name` and what follows it."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().contiguous()
        # A factor may lie column-major, and the order of a product's sums, so its last bits, depends on that.
        return {"tensor": name, "stride": list(value.stride())}
    if isinstance(value, list):
        return [encode(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {"items": {key: encode(item, f"{name}:{key}", tensors) for key, item in value.items()}}
    if value is None or isinstance(value, bool | int | float):
        return value
    changing = {key: getattr(value, key) for key in CHANGING if hasattr(value, key)}
    if not changing:
        raise TypeError(f"{name}: expected state that a checkpoint can hold, got a {type(value).__name__}")
    return encode(changing, name, tensors)


def decode(saved: Any, fresh: Any, name: str, tensors: Mapping[str, Tensor]) -> Any:
    """The piece of state that `encode` took apart.

    Args:
        saved: What `encode` gave.
        fresh: The same piece of an optimizer that has just begun; its shapes are expected, and objects in it
            are changed and given back.
        name: Where it is, for errors.
        tensors: Name → tensor.

    Raises:
        CheckpointError: The state of another optimizer, or of another parameter.
    """
    if isinstance(fresh, Tensor):
        return _decode_tensor(saved, fresh, name, tensors)
    if isinstance(fresh, list):
        if not isinstance(saved, list) or len(saved) != len(fresh):
            raise _misfit(name, f"a list of {len(fresh)}", saved)
        pairs = zip(saved, fresh, strict=True)
        return [decode(item, one, f"{name}.{index}", tensors) for index, (item, one) in enumerate(pairs)]
    if fresh is None or isinstance(fresh, bool | int | float):
        if isinstance(saved, list | dict):
            raise _misfit(name, "a number", saved)
        return saved
    parts = (
        fresh if isinstance(fresh, dict) else {k: getattr(fresh, k) for k in CHANGING if hasattr(fresh, k)}
    )
    items = saved.get("items") if isinstance(saved, dict) else None
    if items is None or set(items) != set(parts):
        raise _misfit(name, f"values for {', '.join(sorted(parts))}", items or saved)
    found = {key: decode(items[key], part, f"{name}:{key}", tensors) for key, part in parts.items()}
    if isinstance(fresh, dict):
        return found
    for key, value in found.items():
        setattr(fresh, key, value)
    return fresh


def begin_state(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter the state that it has when an optimizer begins, to be filled from a checkpoint.

    Raises:
        CheckpointError: An optimizer that is none of ours.
    """
    optimizer.state.clear()
    for part in getattr(optimizer, "parts", (optimizer,)):
        parameters = [parameter for group in part.param_groups for parameter in group["params"]]
        build = getattr(part, "init_group", None)
        if build is not None:
            # The library of SOAP and Shampoo builds its state for gradients only.
            gradients = [(p, p.grad) for p in parameters]
            for parameter, _ in gradients:
                parameter.grad = torch.zeros_like(parameter)
            for group in part.param_groups:
                build(group)
            for parameter, gradient in gradients:
                parameter.grad = gradient
        elif isinstance(part, torch.optim.AdamW):
            for parameter in parameters:
                first, second = torch.zeros_like(parameter), torch.zeros_like(parameter)
                step = torch.zeros((), device=parameter.device)
                part.state[parameter] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
        else:
            raise CheckpointError(f"optimizer state: no way to restore that of a {type(part).__name__}")


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a piece of state."""
    found: dict[str, Tensor] = {}
    encode(value, "", found)
    return list(found.values())


def _decode_tensor(saved: Any, fresh: Tensor, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    tensor = tensors.get(saved["tensor"]) if isinstance(saved, dict) and "tensor" in saved else saved
    if not isinstance(tensor, Tensor) or tensor.shape != fresh.shape or tensor.dtype != fresh.dtype:
        raise _misfit(name, f"{fresh.dtype} {tuple(fresh.shape)}", tensor)
    strided = torch.empty_strided(tensor.shape, saved["stride"], dtype=tensor.dtype, device=fresh.device)
    return strided.copy_(tensor)


def _misfit(name: str, expected: str, got: Any) -> CheckpointError:
    if isinstance(got, Tensor):
        got = f"{got.dtype} {tuple(got.shape)}"
    elif isinstance(got, list):
        got = f"a list of {len(got)}"
    elif isinstance(got, dict):
        got = f"values for {', '.join(sorted(got))}"
    got = "none" if got is None else got
    return CheckpointError(f"optimizer state {name!r} fits no parameter: expected {expected}, got {got}")
