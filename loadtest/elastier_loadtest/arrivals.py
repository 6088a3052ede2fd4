"""When requests arrive: seeded, endless generators of offsets in seconds from the start of the load.

Arrivals do not know of answers. That is what makes the load open-loop: a server that stalls still gets every
request at its time, as it would from people who do not know of each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

_GAPS_AT_ONCE = 1024


class Arrivals(Protocol):
    """A process of arrivals."""

    kind: ClassVar[str]
    """Its name in the report."""

    def offsets_s(self, seed: int) -> Iterator[float]:
        """Yield ascending offsets without end; the same seed gives the same offsets."""
        ...


@dataclass(frozen=True, kw_only=True)
class PoissonArrivals:
    """Independent arrivals, `rate` a second on average."""

    rate: float
    kind: ClassVar[str] = "poisson"

    def offsets_s(self, seed: int) -> Iterator[float]:
        """Yield offsets whose gaps are exponential."""
        rng = np.random.default_rng(seed)
        now_s = 0.0
        while True:
            for gap_s in rng.exponential(1 / self.rate, _GAPS_AT_ONCE).tolist():
                now_s += gap_s
                yield now_s


@dataclass(frozen=True, kw_only=True)
class GammaArrivals:
    """Arrivals in bursts (`cv2` > 1) or nearly regular (`cv2` < 1), `rate` a second on average.

    `cv2` is the squared coefficient of variation of the gaps: variance divided by the squared mean.
    """

    rate: float
    cv2: float
    kind: ClassVar[str] = "gamma"

    def offsets_s(self, seed: int) -> Iterator[float]:
        """Yield offsets whose gaps are gamma-distributed with shape 1 / cv2."""
        rng = np.random.default_rng(seed)
        now_s = 0.0
        while True:
            for gap_s in rng.gamma(1 / self.cv2, self.cv2 / self.rate, _GAPS_AT_ONCE).tolist():
                now_s += gap_s
                yield now_s


def arrivals_at(rate: float, cv2: float) -> Arrivals:
    """Poisson arrivals where `cv2` is 1, gamma arrivals elsewhere."""
    return PoissonArrivals(rate=rate) if cv2 == 1 else GammaArrivals(rate=rate, cv2=cv2)
