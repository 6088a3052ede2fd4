"""When requests arrive."""

from itertools import islice, pairwise

import numpy as np
import pytest

from elastier_loadtest.arrivals import Arrivals, GammaArrivals, PoissonArrivals, arrivals_at

BOTH = [PoissonArrivals(rate=50), GammaArrivals(rate=50, cv2=8)]


def gaps_s(arrivals: Arrivals, seed: int, count: int = 20_000) -> list[float]:
    return [after - before for before, after in pairwise(islice(arrivals.offsets_s(seed), count + 1))]


@pytest.mark.parametrize("arrivals", BOTH)
def test_the_same_seed_gives_the_same_times_and_another_seed_others(arrivals: Arrivals) -> None:
    times = list(islice(arrivals.offsets_s(7), 3000))
    assert times == list(islice(arrivals.offsets_s(7), 3000))
    assert times != list(islice(arrivals.offsets_s(8), 3000))


@pytest.mark.parametrize("arrivals", BOTH)
def test_times_ascend_at_the_rate(arrivals: Arrivals) -> None:
    gaps = gaps_s(arrivals, seed=1)
    assert min(gaps) >= 0
    assert 1 / np.mean(gaps) == pytest.approx(50, rel=0.08)


@pytest.mark.parametrize(
    ("arrivals", "cv2"), [(BOTH[0], 1), (BOTH[1], 8), (GammaArrivals(rate=50, cv2=0.1), 0.1)]
)
def test_gaps_vary_as_much_as_asked(arrivals: Arrivals, cv2: float) -> None:
    gaps = gaps_s(arrivals, seed=2)
    assert np.var(gaps) / np.mean(gaps) ** 2 == pytest.approx(cv2, rel=0.15)


def test_a_variation_of_one_is_poisson() -> None:
    assert arrivals_at(10, 1.0).kind == "poisson"
    assert arrivals_at(10, 4.0).kind == "gamma"
