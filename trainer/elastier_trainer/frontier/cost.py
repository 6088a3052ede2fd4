"""What a sub-model costs: its floating-point operations, or the latency that a bundle's profile leads to expect.

Shapes: T tiers of the bundle, P parts of the cost: 1 (any request), kept layers, hidden units.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from elastier_contract.bundle import Bundle
from elastier_contract.profile import Quantile
from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.space import Space
from elastier_trainer.submodel import NestedModel, Submodel

FEWEST_TIERS = 4


class SubmodelCost(Protocol):
    """A cost that can say what it is."""

    @property
    def unit(self) -> str:
        """What it counts, such as `FLOPs per row`."""
        ...

    @property
    def facts(self) -> dict[str, int | float | str]:
        """How it came about, in figures."""
        ...

    def of(self, submodel: Submodel) -> float:
        """What a sub-model costs, above 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class FlopsCost:
    """Floating-point operations of a row."""

    model: NestedModel
    unit: ClassVar[str] = "FLOPs per row"
    facts: ClassVar[dict[str, int | float | str]] = {}

    def of(self, submodel: Submodel) -> float:
        """See `SubmodelCost`."""
        return float(self.model.flops_per_row(submodel))


@dataclass(frozen=True, kw_only=True)
class LatencyCost:
    """Latency as a sum over blocks, fitted to a bundle's tiers."""

    base_ms: float
    """Of any request, all blocks left out."""
    layer_ms: float
    """Of a kept block, whatever its width; 0 where all tiers keep as many, since it is in `base_ms` then."""
    hidden_unit_ms: float
    worst_error: float
    """Largest |fitted / measured − 1| over the tiers."""
    left_out_error: float
    """Median of |predicted / measured − 1| over the tiers, each predicted from the others alone."""
    tiers: int
    rows: int
    """Of a request."""
    quantile: Quantile

    @property
    def unit(self) -> str:
        """See `SubmodelCost`."""
        return f"ms ({self.quantile}, {self.rows} rows)"

    @property
    def facts(self) -> dict[str, int | float | str]:
        """See `SubmodelCost`."""
        return asdict(self)

    def of(self, submodel: Submodel) -> float:
        """See `SubmodelCost`."""
        units = sum(submodel.widths)
        return self.base_ms + self.layer_ms * len(submodel.layers) + self.hidden_unit_ms * units


def fit_latency(bundle: Bundle, space: Space, *, rows: int, quantile: Quantile = "p50") -> LatencyCost:
    """Fit a sum over blocks to the profile of a bundle of the same model.

    Least squares of the relative error with non-negative parts, so that more never costs less.

    Args:
        bundle: Its tiers' latencies are the measurements.
        space: What will be asked for.
        rows: Rows of a request.
        quantile: Which latency.

    Raises:
        ConfigError: The bundle cannot tell what the space asks: too few tiers, one depth only, another
            model, or several model dimensions.
    """
    tiers = bundle.manifest.tiers
    _check(bundle, space)
    measured_T = np.array([bundle.profile.latency_ms(tier.name, rows, quantile) for tier in tiers])
    parts_TP = np.array([[1.0, len(tier.layers), sum(tier.widths)] for tier in tiers])
    parts_P = _fit(parts_TP, measured_T)
    left_out = []
    for out in range(len(tiers)):
        others_T = np.arange(len(tiers)) != out
        predicted = float(parts_TP[out] @ _fit(parts_TP[others_T], measured_T[others_T]))
        left_out.append(abs(predicted / measured_T[out] - 1))
    return LatencyCost(
        base_ms=float(parts_P[0]),
        layer_ms=float(parts_P[1]),
        hidden_unit_ms=float(parts_P[2]),
        worst_error=float(np.abs(parts_TP @ parts_P / measured_T - 1).max()),
        left_out_error=float(np.median(left_out)),
        tiers=len(tiers),
        rows=rows,
        quantile=quantile,
    )


def _fit(parts_TP: NDArray[np.float64], measured_T: NDArray[np.float64]) -> NDArray[np.float64]:
    told_P = np.array([True, np.ptp(parts_TP[:, 1]) > 0, True])
    fitted_P = np.zeros(3)
    # A column's scale is its largest value, or hidden units would drown the rest.
    relative_TP = parts_TP[:, told_P] / measured_T[:, None]
    scale_P = relative_TP.max(axis=0)
    fitted_P[told_P] = nnls(relative_TP / scale_P, np.ones(len(measured_T)))[0] / scale_P
    return fitted_P


def _check(bundle: Bundle, space: Space) -> None:
    tiers, ta = bundle.manifest.tiers, bundle.manifest.tiers[-1]
    widest = {layer: widths[-1] for layer, widths in space.widths.items()}
    if dict(zip(ta.layers, ta.widths, strict=True)) != widest:
        raise ConfigError(
            f"{bundle.path}: expected a bundle of this run, whose TA has widths {list(widest.values())}, "
            f"got one with widths {list(ta.widths)}"
        )
    if len(tiers) < FEWEST_TIERS:
        raise ConfigError(
            f"{bundle.path}: expected at least {FEWEST_TIERS} tiers to fit a cost to, got {len(tiers)}; "
            "export the whole ladder, or use flops"
        )
    depths = {len(shape.layers) for shape in space.shapes}
    if len(depths) > 1 and len({len(tier.layers) for tier in tiers}) == 1:
        raise ConfigError(
            f"{bundle.path}: expected tiers of several depths, since {sorted(depths)} layers are searched, "
            f"got {len(ta.layers)} layers in every tier; export such tiers first, or use flops"
        )
    searched = {shape.model_dim for shape in space.shapes}
    if len(searched) > 1 or len({tier.model_dim for tier in tiers}) > 1:
        raise ConfigError(
            f"{bundle.path}: expected one model dimension throughout, since the fit is a sum over blocks of one "
            f"size, got {sorted(searched)} to search; use flops"
        )
