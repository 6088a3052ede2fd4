"""Which layers of a module share a hidden dimension, and which blocks may be left out.

    first Linear [H, D] → per-unit layers [H] → last Linear [E, H]

A narrower sub-model takes the first h of the H hidden units: rows of the first, columns of the last.

Shapes: D inputs, H hidden units, E outputs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict
from torch import nn

from elastier_trainer.checked import STRICT
from elastier_trainer.errors import ConfigError

Members = dict[str, nn.Module]
"""Module name → module: every layer of one hidden dimension, in the order of the data; the last consumes it."""


@dataclass(frozen=True, kw_only=True)
class NestSpec:
    """What of an ordinary `nn.Module` nests; layers are named as `named_modules()` names them."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    pairs: Sequence[Sequence[str]]
    """Layers that share a hidden dimension: `("blocks.*.fc1", "blocks.*.fc2")`.

    A `*` stands for one part of a name; layers whose `*` match alike belong together. The last is the
    `nn.Linear` that consumes the hidden units, the first an `nn.Linear` that makes them. Layers between them that
    have parameters per hidden unit are named too: `nn.BatchNorm1d`, `nn.PReLU`, the second `nn.Linear` of a gated
    unit. A layer may be the last of one pair and the first of the next, as in a plain MLP.
    """
    depth: str | None = None
    """Name of the `nn.ModuleList` or `nn.Sequential` whose members may be left out; each holds one pair."""
    residual: Literal["inside", "outside"] = "inside"
    """Where a block's input is added to its output: a block left out gives its input, or zeros if `outside`."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """One hidden dimension of a module."""

    units: int
    """H."""
    makers: tuple[str, ...]
    """Names of the layers whose parameters run over the hidden units along axis 0."""
    consumer: str
    """Name of the `nn.Linear` whose weight runs over them along axis 1."""

    axes: dict[str, int]
    """Parameter or buffer name → its axis of hidden units."""


def resolve(module: nn.Module, spec: NestSpec) -> list[Hidden]:
    """The hidden dimensions that a spec names, in the order of `module.named_modules()`.

    Raises:
        ConfigError: A pattern names nothing, layers do not fit together, or weights are shared.
    """
    if not spec.pairs:
        raise ConfigError("expected at least one pair of layers in `pairs`, got none")
    found = [_hidden(members) for patterns in spec.pairs for members in _matches(module, patterns)]
    _refuse_shared(module, found)
    order = {name: index for index, (name, _) in enumerate(module.named_modules())}
    return sorted(found, key=lambda hidden: order[hidden.makers[0]])


def blocks_of(module: nn.Module, depth: str, hidden: Sequence[Hidden]) -> tuple[str, ...]:
    """Keys of the blocks that may be left out, in order; block i holds the whole of `hidden[i]`.

    Raises:
        ConfigError: There is no such container, or a block does not hold exactly one pair.
    """
    container = dict(module.named_modules()).get(depth)
    if not depth or not isinstance(container, nn.ModuleList | nn.Sequential):
        kind = type(container).__name__ if depth and container is not None else "no such module"
        raise ConfigError(f"expected depth={depth!r} to name an nn.ModuleList or nn.Sequential, got {kind}")
    keys = tuple(key for key, _ in container.named_children())
    owners = []
    for one in hidden:
        inside = [k for k in keys if all(n.startswith(f"{depth}.{k}.") for n in (*one.makers, one.consumer))]
        if not inside:
            raise ConfigError(f"the pair {_label(one)} is not within one block of {depth!r}")
        owners += inside
    for key in keys:
        if owners.count(key) != 1:
            raise ConfigError(f"expected one pair in block {depth}.{key}, got {owners.count(key)}")
    return keys


def _matches(module: nn.Module, patterns: Sequence[str]) -> list[Members]:
    """The layers that belong together, for each way of filling in the `*`."""
    if len(patterns) < 2:
        raise ConfigError(f"expected a pair of at least two layers, got {tuple(patterns)}")
    filled: list[dict[tuple[str, ...], str]] = []
    for pattern in patterns:
        regex = re.compile(re.escape(pattern).replace(r"\*", r"([^.]+)"))
        names = ((name, regex.fullmatch(name)) for name, _ in module.named_modules() if name)
        filled.append({match.groups(): name for name, match in names if match})
        if not filled[-1]:
            known = ", ".join(name for name, layer in module.named_modules() if isinstance(layer, nn.Linear))
            raise ConfigError(f"no layer is named {pattern!r}; the nn.Linear layers are: {known or 'none'}")
        if filled[-1].keys() != filled[0].keys():
            here, there = list(filled[-1].values()), list(filled[0].values())
            raise ConfigError(f"{pattern!r} must match as {patterns[0]!r} does: got {here} beside {there}")
    return [{names[key]: module.get_submodule(names[key]) for names in filled} for key in filled[0]]


def _hidden(members: Members) -> Hidden:
    """Check that these layers share one hidden dimension."""
    names = list(members)
    first, last = members[names[0]], members[names[-1]]
    if len(names) < 2 or not isinstance(first, nn.Linear) or not isinstance(last, nn.Linear):
        got = ", ".join(f"{name} ({type(layer).__name__})" for name, layer in members.items())
        raise ConfigError(f"expected a pair to begin and to end with an nn.Linear, two of them, got {got}")
    makers = {name: members[name] for name in names[:-1]}
    for name, layer in makers.items():
        _check_units(name, layer, first.out_features, names[0])
    if last.in_features != first.out_features:
        raise ConfigError(
            f"expected {names[-1]} to take the {first.out_features} hidden units of {names[0]}, "
            f"got {last.in_features} inputs"
        )
    for name, layer in members.items():
        if isinstance(layer, nn.Linear) and not isinstance(layer._parameters.get("weight"), nn.Parameter):
            raise ConfigError(
                f"the weight of {name} is computed from others (a parametrization), which cannot nest"
            )
    axes = _axes(makers, names[-1], first.out_features)
    return Hidden(units=first.out_features, makers=tuple(makers), consumer=names[-1], axes=axes)


def _axes(makers: Members, consumer: str, units: int) -> dict[str, int]:
    """Which parameters and buffers run over the hidden units, and along which axis."""
    axes = {f"{consumer}.weight": 1}
    for name, layer in makers.items():
        tensors = (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
        axes |= {f"{name}.{key}": 0 for key, tensor in tensors if tensor.dim() and len(tensor) == units}
    return axes


def _check_units(name: str, layer: nn.Module, units: int, first: str) -> None:
    """Refuse a layer that is not per unit over `units` hidden units."""
    if isinstance(layer, nn.LayerNorm):
        raise ConfigError(
            f"{name} is an nn.LayerNorm over hidden units: it mixes all of them, so that the units of a narrower "
            f"sub-model would have other values than in the TA; put it before {first}, or use nn.BatchNorm1d"
        )
    match layer:
        case nn.Linear():
            size = layer.out_features
        case nn.BatchNorm1d():
            size = layer.num_features
        case nn.PReLU():
            size = layer.num_parameters if layer.num_parameters > 1 else units
        case _:
            raise ConfigError(
                f"expected nn.Linear, nn.BatchNorm1d or nn.PReLU over hidden units, got {name} "
                f"({type(layer).__name__}); layers without parameters need no name"
            )
    if size != units:
        raise ConfigError(f"expected {name} to have the {units} hidden units of {first}, got {size}")


def _refuse_shared(module: nn.Module, found: Sequence[Hidden]) -> None:
    """Refuse a layer in two places of the same kind, and a weight that another layer uses too."""
    seen: set[str] = set()
    for hidden in found:
        roles = [
            *(f"{name} (makes hidden units)" for name in hidden.makers),
            f"{hidden.consumer} (consumes them)",
        ]
        for role in roles:
            if role in seen:
                raise ConfigError(f"{role} is in more than one pair")
            seen.add(role)
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    nested = {name for hidden in found for name in hidden.axes}
    for shared in names.values():
        if len(shared) > 1 and nested.intersection(shared):
            raise ConfigError(f"{' and '.join(shared)} are one shared weight, which cannot nest")


def _label(hidden: Hidden) -> str:
    return " → ".join((*hidden.makers, hidden.consumer))
