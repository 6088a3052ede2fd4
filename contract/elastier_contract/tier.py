"""A tier: one served sub-model of the TA."""

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from elastier_contract.model import FrozenModel

TierName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class Quality(FrozenModel):
    """How good a tier's answers are on data that training did not fit."""

    metric: str
    value: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    chance: float
    """The metric of a useless answer, 0.5 for AUC."""
    rows: PositiveInt
    split: str

    @model_validator(mode="after")
    def _ordered(self) -> "Quality":
        if not self.low <= self.value <= self.high:
            raise ValueError(f"expected low <= value <= high, got {self.low}, {self.value}, {self.high}")
        return self


class Tier(FrozenModel):
    """One sub-model: what it keeps of the TA, what it costs, how good it is."""

    name: TierName
    widths: tuple[PositiveInt, ...] = ()
    """Hidden units per kept block; none for a tier that is not known to be part of a TA."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Indices of the TA's blocks that are kept, one per entry of `widths`."""
    model_dim: PositiveInt | None = None
    """Kept model dimension; None for a model whose dimension does not nest."""
    parameters: PositiveInt
    flops_per_row: PositiveInt
    graph: str
    """Path of the tier's ONNX graph inside the bundle."""
    plain: str | None = None
    """Path of the graph before ONNX Runtime optimized it; None if `graph` is that."""
    quality: Quality

    @property
    def graphs(self) -> tuple[str, ...]:
        """Paths of all its graphs."""
        return (self.graph,) if self.plain is None else (self.graph, self.plain)

    @model_validator(mode="after")
    def _one_width_per_layer(self) -> "Tier":
        if len(self.widths) != len(self.layers):
            raise ValueError(
                f"tier {self.name!r} keeps {len(self.layers)} layers but has {len(self.widths)} widths"
            )
        return self
