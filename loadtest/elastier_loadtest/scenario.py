"""What a load test does, as one value: it goes to the generator's process as JSON and into the report."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from elastier_contract.model import FrozenModel
from elastier_loadtest.errors import ScenarioError

BUDGETS_MS = (1.0, 3.0, 10.0, 50.0)


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"expected a URL such as http://127.0.0.1:8000, got {url!r}")
    return url.rstrip("/")


class Scenario(FrozenModel):
    """One load test against one server."""

    url: Annotated[str, AfterValidator(_http_url)]
    model: str | None = None
    """Served model; by default the bundle's name."""
    bundle: Path | None = None
    """What the server serves: makes random payloads, and knows tiers and their utility."""
    payloads: Path | None = None
    """JSON-lines file of request bodies, used instead of random payloads."""
    rows: PositiveInt = 30
    """Rows of a random payload."""
    budgets_ms: tuple[PositiveFloat, ...] = Field(BUDGETS_MS, min_length=1)
    """Every budget gets an equal share of the requests."""
    rate: PositiveFloat | None = None
    """Requests a second."""
    fraction_of_capacity: PositiveFloat | None = None
    """The rate as a share of the server's capacity, which is then measured first."""
    cv2: PositiveFloat = 1.0
    """Squared coefficient of variation of the gaps between arrivals; 1 is Poisson."""
    seconds: PositiveFloat = 30.0
    warm_up_s: NonNegativeFloat = 2.0
    """Load before the measured seconds, in no figure of the report."""
    seed: int = Field(0, ge=0)
    connections: int = Field(512, ge=1, le=900)
    """Most connections at once; select() ends near 1,000."""
    timeout_s: PositiveFloat = 10.0
    """After this long without a byte a request counts as a transport error."""

    @model_validator(mode="after")
    def _complete(self) -> "Scenario":
        if (self.rate is None) == (self.fraction_of_capacity is None):
            raise ValueError("expected either a rate or a fraction of capacity")
        if self.bundle is None and self.payloads is None:
            raise ValueError("expected a bundle to make payloads from, or a file of payloads")
        if len(set(self.budgets_ms)) != len(self.budgets_ms):
            raise ValueError(f"expected every budget once, got {list(self.budgets_ms)}")
        return self


def make_scenario(**fields: Any) -> Scenario:
    """Validate a scenario.

    Raises:
        ScenarioError: With the first thing that is wrong.
    """
    try:
        return Scenario(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ScenarioError(f"{where}: {message}, got {first['input']!r}" if where else message) from error
