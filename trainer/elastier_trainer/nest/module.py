"""An ordinary module as a nested one: every sub-model is the module's own forward pass on slices of its weights.

Nothing on the module says which sub-model is in use: the slices are handed to its forward pass
(`torch.func.functional_call`), and a block is left out in a copy of the module tree's spine, which shares all
layers and weights with the module.

Shapes: B rows, C outputs, H hidden units of a pair, h <= H in use.
"""

import copy
from collections.abc import Iterable, Sequence
from operator import attrgetter

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elastier_trainer.errors import ConfigError
from elastier_trainer.nest.spec import Hidden
from elastier_trainer.nest.statistics import Statistics, measured, running_norms, statistics_of
from elastier_trainer.submodel import Inputs, Ladder, ParameterSlice, Submodel

PREFIX = "module."
"""What `NestedModule.state_dict` puts before the names of the wrapped module."""


class Zero(nn.Module):
    """A left-out block whose input is added outside it: gives zeros of its input's shape."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Zeros like `x`."""
        return torch.zeros_like(x)


class Same(nn.Module):
    """A left-out residual block: gives its first input, whatever else the block takes."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """`x` itself."""
        return x


class NestedModule(nn.Module):
    """A module that nests; satisfies `NestedModel`. Made by `nest`."""

    def __init__(
        self,
        module: nn.Module,
        hidden: Sequence[Hidden],
        *,
        depth: str | None,
        blocks: Sequence[str],
        skipped: nn.Module,
    ) -> None:
        super().__init__()
        self.module = module
        self.hidden = tuple(hidden)
        self.depth = depth
        self.blocks = tuple(blocks)
        self._statistics: dict[Submodel, Statistics] = {}
        self._misled = False
        self._skipped = (skipped,)  # in a tuple, so that it is no layer of the model

    @property
    def full(self) -> Submodel:
        """The TA: the module as it is."""
        widths = tuple(hidden.units for hidden in self.hidden)
        return Submodel(widths=widths, layers=tuple(range(len(widths))), model_dim=0)

    def uniform(self, width: int, layers: Sequence[int] | None = None) -> Submodel:
        """The sub-model with `width` hidden units in each of the kept blocks, by default all blocks."""
        kept = tuple(range(len(self.hidden)) if layers is None else layers)
        submodel = Submodel(widths=(width,) * len(kept), layers=kept, model_dim=0)
        self._check(submodel)
        return submodel

    def ladder(self, widths: Iterable[int]) -> Ladder:
        """Students of these hidden units per block, `w8` for 8, and the TA after them."""
        submodels = [*(self.uniform(width) for width in sorted(set(widths))), self.full]
        return Ladder(students={f"w{max(submodel.widths)}": submodel for submodel in submodels})

    def forward(self, **inputs: Tensor) -> Tensor:
        """Outputs [B, C] of the TA."""
        return as_columns(self.module(**inputs))

    def logits(self, inputs: Inputs, submodels: Sequence[Submodel]) -> list[Tensor]:
        """Outputs [B, C] of each sub-model; a module with outputs [B] has C = 1.

        The module is called as `module(**inputs)`, once for each sub-model: what they have in common is not shared.
        """
        return [self._logits(inputs, submodel) for submodel in submodels]

    def slices(self, submodel: Submodel) -> dict[str, ParameterSlice]:
        """Parameter name in the wrapped module → what the sub-model uses of it."""
        tensors = dict(self.module.named_parameters())
        shapes = self._shapes(submodel)
        left_out = self._left_out(submodel)
        return {
            name: ParameterSlice(source=PREFIX + name, shape=shapes.get(name, tuple(tensor.shape)))
            for name, tensor in tensors.items()
            if not name.startswith(left_out)
        }

    def extract(self, submodel: Submodel) -> nn.Module:
        """The sub-model by itself: a copy of the wrapped module with smaller layers, called as the module is."""
        own = self._own_statistics(submodel)
        extracted = self._extract(submodel)
        for name, tensor in own.items():
            attrgetter(name)(extracted).copy_(tensor)
        return extracted

    def calibrate(self, submodels: Sequence[Submodel], inputs: Inputs) -> None:
        """Measure the batch norms' running statistics of each sub-model; needed after training, before evaluation.

        Training moves the TA's statistics only, and they mislead the students. A model without batch norms needs
        none of this. What is measured belongs to this object, and is not in its `state_dict`.

        Args:
            submodels: Students; the TA among them keeps the statistics that it has.
            inputs: Rows of the training data, some thousand, in one batch.
        """
        for submodel in submodels:
            if submodel != self.full:
                self._statistics[submodel] = measured(self._extract(submodel), inputs)

    def flops_per_row(self, submodel: Submodel) -> int:
        """Two per multiply-add of every `nn.Linear`, each used once a row; nothing else is counted."""
        shapes = self._shapes(submodel)
        left_out = self._left_out(submodel)
        flops = 0
        for name, layer in self.module.named_modules():
            if isinstance(layer, nn.Linear) and not name.startswith(left_out):
                outputs, inputs = shapes.get(f"{name}.weight", (layer.out_features, layer.in_features))
                flops += 2 * outputs * inputs
        return flops

    def _logits(self, inputs: Inputs, submodel: Submodel) -> Tensor:
        parts = {
            name: _prefix(attrgetter(name)(self.module), shape)
            for name, shape in self._shapes(submodel).items()
        }
        module = self._spine(submodel)
        if submodel != self.full and any(norm.training for norm in running_norms(module).values()):
            # Only the TA's own passes may move its statistics.
            parts |= {name: parts.get(name, whole).clone() for name, whole in statistics_of(module).items()}
            self._misled = True
        else:
            parts |= self._own_statistics(submodel)
        return as_columns(functional_call(module, parts, kwargs=dict(inputs), tie_weights=False))

    def _own_statistics(self, submodel: Submodel) -> Statistics:
        """The statistics measured for a sub-model; none if it goes by the TA's."""
        own = self._statistics.get(submodel, {})
        if self._misled and not own and submodel != self.full:
            raise ConfigError(
                f"the batch norms of the student with widths {submodel.widths} have no statistics of their own, and "
                "the TA's mislead it: call `calibrate` after training"
            )
        return {name: tensor.to(attrgetter(name)(self.module).device) for name, tensor in own.items()}

    def _extract(self, submodel: Submodel) -> nn.Module:
        """The sub-model by itself, with the TA's running statistics."""
        extracted = copy.deepcopy(self._spine(submodel))
        for name, shape in self._shapes(submodel).items():
            path, _, key = name.rpartition(".")
            layer = extracted.get_submodule(path)
            whole = getattr(layer, key)
            part = _prefix(whole.detach(), shape).clone(memory_format=torch.contiguous_format)
            is_parameter = isinstance(whole, nn.Parameter)
            setattr(
                layer, key, nn.Parameter(part, requires_grad=whole.requires_grad) if is_parameter else part
            )
            _set_sizes(layer, shape)
        return extracted

    def _shapes(self, submodel: Submodel) -> dict[str, tuple[int, ...]]:
        """Name of each parameter and buffer that is not used whole → the shape of its prefix."""
        self._check(submodel)
        shapes: dict[str, tuple[int, ...]] = {}
        for block, width in zip(submodel.layers, submodel.widths, strict=True):
            if width < self.hidden[block].units:
                for name, axis in self.hidden[block].axes.items():
                    shape = shapes.get(name) or tuple(attrgetter(name)(self.module).shape)
                    shapes[name] = (*shape[:axis], width, *shape[axis + 1 :])
        return shapes

    def _left_out(self, submodel: Submodel) -> tuple[str, ...]:
        """What the names of left-out blocks' parameters begin with."""
        return tuple(f"{self.depth}.{key}." for i, key in enumerate(self.blocks) if i not in submodel.layers)

    def _spine(self, submodel: Submodel) -> nn.Module:
        """The module without the left-out blocks: containers on the way to them are copied, all else is shared."""
        if self.depth is None or len(submodel.layers) == len(self.blocks):
            return self.module
        top = parent = _shallow(self.module)
        for part in self.depth.split("."):
            parent._modules[part] = _shallow(parent.get_submodule(part))
            parent = parent.get_submodule(part)
        for index, key in enumerate(self.blocks):
            if index not in submodel.layers:
                parent._modules[key] = self._skipped[0]
        return top

    def _check(self, submodel: Submodel) -> None:
        """Refuse what is no sub-model of this module."""
        full = tuple(hidden.units for hidden in self.hidden)
        layers, widths = submodel.layers, submodel.widths
        if (
            not layers
            or list(layers) != sorted(set(layers) & set(range(len(full))))
            or len(layers) != len(widths)
        ):
            raise ConfigError(
                f"expected ascending layers within 0..{len(full) - 1} and one width for each, "
                f"got layers {layers} and widths {widths}"
            )
        if self.depth is None and len(layers) != len(full):
            raise ConfigError(f"expected all {len(full)} layers, as the spec names no `depth`, got {layers}")
        for layer, width in zip(layers, widths, strict=True):
            if not 1 <= width <= full[layer]:
                raise ConfigError(f"expected 1 to {full[layer]} hidden units in layer {layer}, got {width}")
        if submodel.model_dim != 0:
            raise ConfigError(f"expected model_dim 0, as it does not nest here, got {submodel.model_dim}")


def as_columns(outputs: object) -> Tensor:
    """A module's outputs as [B, C], from [B, C] or [B].

    Raises:
        ConfigError: They are anything else.
    """
    if not isinstance(outputs, Tensor) or outputs.dim() not in (1, 2):
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ConfigError(f"expected the module to give a tensor [rows, outputs] or [rows], got {got}")
    return outputs if outputs.dim() == 2 else outputs.unsqueeze(1)


def _prefix(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The first `shape[i]` entries along every axis, as a view."""
    for axis, size in enumerate(shape):
        tensor = tensor.narrow(axis, 0, size)
    return tensor


def _shallow(module: nn.Module) -> nn.Module:
    """A copy with a table of children of its own; children, parameters and buffers are the module's."""
    copied = copy.copy(module)
    copied._modules = dict(module._modules)
    return copied


def _set_sizes(layer: nn.Module, shape: Sequence[int]) -> None:
    """Let a layer say the size that its sliced tensors have."""
    match layer:
        case nn.Linear() if len(shape) == 2:
            layer.out_features, layer.in_features = shape
        case nn.BatchNorm1d():
            layer.num_features = shape[0]
        case nn.PReLU():
            layer.num_parameters = shape[0]
