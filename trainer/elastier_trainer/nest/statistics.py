"""Running statistics of batch norms, which a sub-model cannot share with the TA.

A narrower layer gives other activations, so that the TA's mean and variance mislead a student's norms (universally
slimmable networks, arXiv 1903.05134, measure them anew for each width after training).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from elastier_trainer.submodel import Inputs

Statistics = Mapping[str, Tensor]
"""Buffer name → running mean, variance or count."""


def running_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """The batch norms of a module that keep running statistics, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }


def statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """The running statistics that a module has now."""
    return {
        f"{name}.{key}": tensor
        for name, norm in running_norms(module).items()
        for key, tensor in norm.named_buffers(recurse=False)
    }


def measured(student: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Statistics of a student by itself over all rows of `inputs`, taken in one batch and without dropout.

    The student is spent: its modes and its statistics are changed.
    """
    student.eval()
    for norm in running_norms(student).values():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        student(**inputs)
    return statistics_of(student)
