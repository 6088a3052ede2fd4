"""What a request asks for, whatever its dialect: inputs, budget, bounds, unit."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from numpy.typing import NDArray

from elastier_server.errors import InvalidRequestError
from elastier_server.inference import TierBounds
from elastier_server.state import Served

BUDGET_HEADER = b"x-latency-budget-ms"
UNIT_HEADER = b"x-elastier-unit"
_MAX_UNIT_CHARACTERS = 256


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may say beside its inputs."""

    tier: str | None = None
    min_tier: str | None = None
    max_tier: str | None = None
    unit: str | None = None
    priority: int = 0

    @property
    def names_tiers(self) -> bool:
        """Whether the client bounds its tiers itself, and so stays out of experiments."""
        return self.tier is not None or self.min_tier is not None or self.max_tier is not None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was read and checked."""

    served: Served
    inputs: Mapping[str, NDArray[Any]]
    rows: int
    budget_ms: float
    wishes: Wishes
    id: str | None = None
    outputs: tuple[str, ...] = ()
    """Names of the outputs to send back."""


def checked_budget_ms(value_ms: float, max_ms: float, carrier: str) -> float:
    """A budget that can be met or missed.

    Raises:
        InvalidRequestError: Not a number, not positive, or above the maximum; the message names the carrier.
    """
    if not (math.isfinite(value_ms) and 0 < value_ms <= max_ms):
        raise InvalidRequestError(
            f"{carrier}: expected a budget of more than 0 and at most {max_ms:g} ms, got {value_ms:g}"
        )
    return value_ms


def header_budget_ms(value: str, max_ms: float) -> float:
    """The budget in the header X-Latency-Budget-Ms.

    Raises:
        InvalidRequestError: It is not a number, or out of range.
    """
    try:
        # Python reads 1_000 as a number; HTTP clients do not mean it.
        value_ms = float(value.replace("_", "?"))
    except ValueError:
        raise InvalidRequestError(f"header X-Latency-Budget-Ms: expected a number, got {value!r}") from None
    return checked_budget_ms(value_ms, max_ms, "header X-Latency-Budget-Ms")


def checked_unit(*carriers: str | None) -> str | None:
    """The unit of an experiment by the first carrier that names one, or None.

    Raises:
        InvalidRequestError: It is empty or too long.
    """
    unit = next((carrier for carrier in carriers if carrier is not None), None)
    if unit is not None and not 0 < len(unit) <= _MAX_UNIT_CHARACTERS:
        raise InvalidRequestError(f"unit: expected 1 to {_MAX_UNIT_CHARACTERS} characters, got {len(unit)}")
    return unit


def check_rows(rows: int, max_rows: int) -> None:
    """Check the number of rows.

    Raises:
        InvalidRequestError: There are none, or more than the server takes.
    """
    if not 1 <= rows <= max_rows:
        raise InvalidRequestError(f"expected 1 to {max_rows} rows, got {rows}")


def tier_bounds(wishes: Wishes, served: Served) -> TierBounds:
    """The tiers that the client allows.

    Raises:
        InvalidRequestError: An unknown tier, or bounds that contradict each other.
    """
    if not wishes.names_tiers:
        return served.all_tiers
    if wishes.tier is not None:
        if wishes.min_tier is not None or wishes.max_tier is not None:
            raise InvalidRequestError("expected either tier or min_tier and max_tier, got both")
        index = served.tier_index(wishes.tier)
        return TierBounds(lowest=index, highest=index)
    lowest = 0 if wishes.min_tier is None else served.tier_index(wishes.min_tier)
    highest = served.all_tiers.highest if wishes.max_tier is None else served.tier_index(wishes.max_tier)
    if lowest > highest:
        raise InvalidRequestError(
            f"expected min_tier to be at most max_tier, got {wishes.min_tier!r} and {wishes.max_tier!r}"
        )
    return TierBounds(lowest=lowest, highest=highest)
