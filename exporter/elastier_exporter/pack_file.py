"""What a `tiers.yaml` says: the ONNX files that `elastier pack` makes a bundle of."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, ValidationError, model_validator

from elastier_contract.manifest import ModelName, Task
from elastier_contract.model import FrozenModel
from elastier_contract.tier import Quality, TierName
from elastier_trainer.document import findings, read_yaml
from elastier_trainer.errors import ConfigError


class PackTier(FrozenModel):
    """One tier of a `tiers.yaml`."""

    graph: Path
    """Its ONNX file, relative to the YAML file."""
    quality: Quality | None = None
    """None measures it on the labelled file."""
    flops_per_row: PositiveInt | None = None
    """None counts matrix products and convolutions in the graph."""


class PackFile(FrozenModel):
    """What `tiers.yaml` says."""

    name: ModelName
    version: ModelName = "1"
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    """Of a multiclass task: the name of each output."""
    limits: dict[str, tuple[PositiveInt, ...]] = Field(default_factory=dict)
    """Input of ids → exclusive upper bound of each column."""
    labelled: Path | None = None
    """An `.npz` of the inputs by name and of `label`, to measure quality on; relative to the YAML file."""
    split: str = "labelled"
    """What rows these are, for the manifest."""
    tiers: Annotated[dict[TierName, PackTier], Field(min_length=1)]

    @model_validator(mode="after")
    def _quality_from_somewhere(self) -> "PackFile":
        unknown = [name for name, tier in self.tiers.items() if tier.quality is None]
        if unknown and self.labelled is None:
            raise ValueError(f"expected `labelled`, or the quality of tiers {unknown}")
        if (self.task == "multiclass") != bool(self.classes):
            raise ValueError(f"expected classes for a multiclass task and for no other, got {self.classes}")
        return self


def read_pack_file(file: Path) -> PackFile:
    """Read a `tiers.yaml`.

    Raises:
        ConfigError: No such file, not YAML, an unknown key, a value that cannot be.
    """
    try:
        return PackFile.model_validate(read_yaml(file), strict=False)
    except ValidationError as error:
        raise ConfigError(f"{file}: {'; '.join(findings(error))}") from error
