"""The tier file: which sub-models to export, by hand or by `elastier frontier`.

    tiers:
      - {name: w8, widths: [8, 8], layers: [0, 1], model_dim: 128}
      - {name: mix1, widths: [64, 8], layers: [0, 1], model_dim: 128}
      - {name: ta, widths: [1024, 1024], layers: [0, 1], model_dim: 128}

From the cheapest to the TA, which is last and has to be there. Left out, `layers` and
`model_dim` are the TA's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from elastier_contract import atomic
from elastier_contract.model import FrozenModel
from elastier_contract.tier import TierName
from elastier_trainer.document import findings
from elastier_trainer.errors import ConfigError
from elastier_trainer.submodel import Ladder, Submodel


class TierEntry(FrozenModel):
    """One sub-model by name."""

    name: TierName
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Hidden units per kept block."""
    layers: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """Indices of the kept blocks, ascending."""
    model_dim: NonNegativeInt | None = None


class TiersDocument(FrozenModel):
    """What the file says."""

    tiers: Annotated[tuple[TierEntry, ...], Field(min_length=1)]


def read_tiers(path: Path, full: Submodel) -> Ladder:
    """Read a tier file for a model.

    Args:
        path: The YAML file.
        full: The model's TA.

    Raises:
        ConfigError: No such file, not YAML, or tiers that the model does not have; names each key path.
    """
    try:
        document = TiersDocument.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ConfigError(f"{path}: expected a tier file, cannot read it: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(findings(error))) from error
    names, kept = [tier.name for tier in document.tiers], [_submodel(tier, full) for tier in document.tiers]
    if misfits := _findings(names, kept, full):
        raise ConfigError(f"{path}: " + "; ".join(misfits))
    return Ladder(students=dict(zip(names, kept, strict=True)))


def write_tiers(path: Path, ladder: Ladder) -> None:
    """Write a tier file, atomically; `read_tiers` reads it back."""
    lines = ["# From the cheapest to the TA; for `elastier export RUN --tiers`.", "tiers:"]
    lines += [f"  - {_flow(student, name=name)}" for name, student in ladder.students.items()]
    atomic.write_file(path, ("\n".join(lines) + "\n").encode())


def _submodel(entry: TierEntry, full: Submodel) -> Submodel:
    return Submodel(
        widths=entry.widths,
        layers=full.layers if entry.layers is None else entry.layers,
        model_dim=full.model_dim if entry.model_dim is None else entry.model_dim,
    )


def _findings(names: Sequence[str], kept: Sequence[Submodel], full: Submodel) -> list[str]:
    found = [
        f"tiers.{index}.name: expected unique names, got {name!r} again"
        for index, name in enumerate(names)
        if name in names[:index]
    ]
    found += [
        f"tiers.{index}.{misfit}"
        for index, submodel in enumerate(kept)
        for misfit in _misfits(submodel, full)
    ]
    return found or _disorder(names, kept, full)


def _disorder(names: Sequence[str], kept: Sequence[Submodel], full: Submodel) -> list[str]:
    """What an order says without costs: a part of an earlier tier cannot cost more than it."""
    found = []
    for index, submodel in enumerate(kept):
        whole = next((names[before] for before in range(index) if _contains(kept[before], submodel)), None)
        if whole is not None:
            found.append(f"tiers.{index}: expected the cheapest first, got a part of {whole!r} after it")
    if kept[-1] != full:
        found.append(f"tiers: expected the TA last, {_flow(full)}, got {_flow(kept[-1])}")
    return found


def _misfits(submodel: Submodel, full: Submodel) -> list[str]:
    layers, blocks = submodel.layers, len(full.layers)
    if list(layers) != sorted(set(layers)) or layers[-1] >= blocks:
        return [f"layers: expected ascending blocks below {blocks}, got {list(layers)}"]
    if len(submodel.widths) != len(layers):
        return [f"widths: expected one for each of {len(layers)} layers, got {list(submodel.widths)}"]
    found = [
        f"widths.{place}: expected at most {full.widths[layer]}, got {width}"
        for place, (layer, width) in enumerate(zip(layers, submodel.widths, strict=True))
        if width > full.widths[layer]
    ]
    if submodel.model_dim > full.model_dim or (submodel.model_dim == 0) != (full.model_dim == 0):
        expected = f"1 to {full.model_dim}" if full.model_dim else "0, since it does not nest here"
        found.append(f"model_dim: expected {expected}, got {submodel.model_dim}")
    return found


def _contains(outer: Submodel, inner: Submodel) -> bool:
    """Whether all that `inner` keeps, `outer` keeps too."""
    width_of = dict(zip(outer.layers, outer.widths, strict=True))
    return inner.model_dim <= outer.model_dim and all(
        width <= width_of.get(layer, 0) for layer, width in zip(inner.layers, inner.widths, strict=True)
    )


def _flow(submodel: Submodel, **first: str) -> str:
    entry = first | {
        "widths": list(submodel.widths),
        "layers": list(submodel.layers),
        "model_dim": submodel.model_dim,
    }
    return yaml.safe_dump(entry, sort_keys=False, default_flow_style=True, width=10_000).strip()
