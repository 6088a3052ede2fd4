"""The policies against each other, in simulated time: mixed budgets, from idle to beyond what the machine can do."""

import numpy as np
import pytest

from support.simulation import TIERS, mixed_budgets, poisson, simulate

LARGEST_PER_S = 1e3 / 2.48
"""Requests of 200 rows that the largest tier can answer in a second."""


def run(
    policy: str, load: float, budgets_ms: tuple[float, ...], machine_factor: float = 1.0
) -> tuple[float, float]:
    arrivals_s = poisson(load * LARGEST_PER_S, seconds=4)
    budgets = mixed_budgets(len(arrivals_s), budgets_ms)
    report = simulate(policy, arrivals_s=arrivals_s, budgets_ms=budgets, machine_factor=machine_factor)
    return report.met_ratio, report.effective_accuracy


@pytest.mark.parametrize("load", [0.5, 1.0, 2.0])
def test_guarded_meets_deadlines_and_is_as_good_as_the_best_fixed_tier_in_hindsight(load: float) -> None:
    budgets_ms = (3.0, 9.0, 27.0)
    met, accuracy = run("guarded", load, budgets_ms)
    assert met >= 0.99
    assert accuracy >= max(run(f"fixed:{tier}", load, budgets_ms)[1] for tier in TIERS) - 0.005


def test_greedy_makes_tight_callers_late_where_guarded_does_not() -> None:
    budgets_ms = (1.0, 3.0, 10.0, 50.0)
    assert run("greedy", 1.0, budgets_ms)[0] < 0.9
    assert run("guarded", 1.0, budgets_ms)[0] >= 0.99


def test_beyond_the_largest_tiers_capacity_smaller_tiers_answer() -> None:
    fixed_met, _ = run("fixed:w512", 3.0, (9.0,))
    met, accuracy = run("guarded", 3.0, (9.0,))
    assert fixed_met < 0.1
    assert met >= 0.99
    assert accuracy > 0.95


def test_a_machine_that_slows_down_still_meets_deadlines() -> None:
    met, _ = run("guarded", 0.5, (3.0, 9.0, 27.0), machine_factor=1.8)
    assert met >= 0.98


def test_the_simulation_is_the_same_every_time() -> None:
    first, second = (run("guarded", 1.0, (3.0, 9.0)) for _ in range(2))
    assert np.array_equal(first, second)
