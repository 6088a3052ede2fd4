"""The manifest: all that a bundle says about itself."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from elastier_contract.features import FeatureSchema
from elastier_contract.layout import WEIGHTS_FILE, Layout
from elastier_contract.machine import Machine
from elastier_contract.model import FrozenModel
from elastier_contract.signature import Signature
from elastier_contract.tier import Tier

SCHEMA_MAJOR = 2
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.0"
"""2.0 added layout D, and says what lies where in the weights file; older ones are read too."""

Task = Literal["binary", "multiclass", "regression"]

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$")]
"""A model's name or version, as it stands in URLs."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

OUTPUT = "logits"
"""The output that a ranker's tiers give: one logit a row, one a class, or a standardised value."""


class FileDigest(FrozenModel):
    """What a file of the bundle must be, byte for byte."""

    sha256: Sha256
    bytes: NonNegativeInt


WeightKind = Literal["raw", "packed"]


class WeightRange(FrozenModel):
    """A range of the weights file; a tier may use the beginning of it only."""

    name: str
    """The weight's name in the graph of the first tier that used it."""
    kind: WeightKind
    """Raw numbers, or packed by ONNX Runtime for its matrix products."""
    offset: NonNegativeInt
    bytes: NonNegativeInt
    tiers: tuple[str, ...] = Field(min_length=1)
    """Tiers that use it; it is shared if there is more than one."""


class Provenance(FrozenModel):
    """Where a bundle comes from."""

    command: str
    seed: int
    data_sha256: str
    versions: dict[str, str]
    """Library → version, of those that trained and exported."""
    slice_seconds_per_tier: NonNegativeFloat | None = None
    """What a tier took to write once the TA was exported, packing included; None where nothing was sliced."""


class Manifest(FrozenModel):
    """All that a bundle says about itself; `tiers` go from the cheapest to the TA."""

    schema_version: Annotated[str, Field(pattern=r"^\d+\.\d+$")] = SCHEMA_VERSION
    name: ModelName
    version: ModelName
    created_at: datetime
    layout: Layout
    task: Task
    classes: tuple[str, ...] = ()
    """Of a multiclass task: the name of each logit, in their order."""
    label_mean: float | None = None
    """Of a regression task, with `label_std`: label = mean + std · output; None where outputs are labels."""
    label_std: Annotated[float, Field(gt=0)] | None = None
    signature: Signature
    features: FeatureSchema | None = None
    tiers: tuple[Tier, ...] = Field(min_length=1)
    files: dict[str, FileDigest]
    """Path inside the bundle → digest, for every file but the manifest."""
    weights: tuple[WeightRange, ...] = ()
    """All that lies in the weights file; empty in bundles before format 2."""
    packed_on: Machine | None = None
    """Machine and ONNX Runtime that packed the weights; None in layout A."""
    provenance: Provenance
    sha256: Sha256 | None = None
    """Of the manifest itself, without this field; None before format 2."""

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        names = [tier.name for tier in self.tiers]
        if len(set(names)) != len(names):
            raise ValueError(f"tier names must be unique, got {names}")
        costs = [tier.flops_per_row for tier in self.tiers]
        if costs != sorted(costs):
            raise ValueError(f"tiers must go from cheap to costly, got {costs} FLOPs per row")
        absent = [
            path
            for path in (WEIGHTS_FILE, *(graph for tier in self.tiers for graph in tier.graphs))
            if path not in self.files
        ]
        if absent:
            raise ValueError(f"files without a digest: {absent}")
        if self.features is not None and self.features.tensor_specs() != self.signature.inputs:
            raise ValueError("the feature schema does not make the signature's inputs")
        self._check_task()
        self._check_weights()
        return self

    def _check_task(self) -> None:
        if (self.task == "multiclass") != bool(self.classes) or len(set(self.classes)) != len(self.classes):
            raise ValueError(
                f"a multiclass task needs the name of each class once, another none, got {self.classes}"
            )
        outputs = self.signature.outputs[0].shape[-1]
        if self.classes and outputs != len(self.classes):
            raise ValueError(f"{len(self.classes)} classes need as many outputs a row, got {outputs}")
        scale = (self.label_mean, self.label_std)
        if None in scale and scale != (None, None):
            raise ValueError("label_mean and label_std come together")
        if self.label_mean is not None and self.task != "regression":
            raise ValueError(f"only a regression task has label_mean and label_std, this one is {self.task}")

    def _check_weights(self) -> None:
        names, size = {tier.name for tier in self.tiers}, self.files[WEIGHTS_FILE].bytes
        for weight in self.weights:
            if weight.offset + weight.bytes > size:
                raise ValueError(f"weight {weight.name!r} ends beyond the {size} bytes of {WEIGHTS_FILE}")
            if unknown := sorted(set(weight.tiers) - names):
                raise ValueError(f"weight {weight.name!r} is said to be of unknown tiers {unknown}")
        if (self.layout == "d") != (self.packed_on is not None):
            raise ValueError("layout d, and no other, needs the machine that packed its weights")

    def tier(self, name: str) -> Tier | None:
        """The tier of that name, or None."""
        return next((tier for tier in self.tiers if tier.name == name), None)

    def utility(self, tier: Tier) -> float:
        """Quality rescaled: 0 for a useless answer, 1 for the TA (DESIGN: effective accuracy)."""
        top = self.tiers[-1].quality
        scale = top.value - top.chance
        return (tier.quality.value - tier.quality.chance) / scale if scale else 0.0
