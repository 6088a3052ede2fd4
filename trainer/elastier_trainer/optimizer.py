"""The optimizer, its schedule, and its state as named tensors."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from elastier_trainer.checked import STRICT, Fraction, Momentum, Positive, Weight
from elastier_trainer.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Linear warm-up to `lr`, then half a cosine to 0; gradients are clipped to `clip_norm`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Literal["adamw"] = "adamw"
    lr: Positive = 0.01
    weight_decay: Weight = 0.01
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    warmup_fraction: Fraction = 0.05
    clip_norm: Positive = 1.0


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; weight decay acts on matrices only, since pulling biases and norms to 0 regularises nothing."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.lr, betas=config.betas, fused=True
    )


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up over `warmup_fraction` of the steps, then half a cosine to 0."""
    warmup_steps = config.warmup_fraction * steps
    if step < warmup_steps:
        return config.lr * (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1.0, steps - warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` from the next step on, for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, as `<parameter>:<key>` → tensor."""
    return {
        f"{name}:{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        CheckpointError: The tensors belong to other parameters.
    """
    parameters = dict(model.named_parameters())
    for key_path, tensor in tensors.items():
        name, _, key = key_path.rpartition(":")
        parameter = parameters.get(name)
        if parameter is None or tensor.shape not in ((), parameter.shape):
            raise CheckpointError(f"optimizer state {key_path!r} {tuple(tensor.shape)} fits no parameter")
        optimizer.state[parameter][key] = tensor
