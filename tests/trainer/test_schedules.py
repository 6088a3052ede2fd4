import math

import pytest
from pydantic import TypeAdapter, ValidationError

from elastier_trainer.objective import ObjectiveConfig
from elastier_trainer.schedule import Ramp, Shape, between, rate_at

HALF_WAY: dict[Shape, float] = {"constant": 1.0, "linear": 0.5, "cosine": 0.5}
QUARTER_WAY: dict[Shape, float] = {"constant": 1.0, "linear": 0.25, "cosine": 0.5 - math.sqrt(0.5) / 2}


@pytest.mark.parametrize("shape", HALF_WAY)
def test_a_ramp_is_0_before_and_1_after(shape: Shape) -> None:
    ramp = Ramp(shape=shape, start=0.2, end=0.6)
    assert [ramp.at(step, 100) for step in (0, 19)] == [0, 0]
    assert [ramp.at(step, 100) for step in (60, 61, 99)] == [1, 1, 1]
    assert ramp.at(30, 100) == pytest.approx(QUARTER_WAY[shape])
    assert ramp.at(40, 100) == pytest.approx(HALF_WAY[shape])
    heights = [ramp.at(step, 100) for step in range(100)]
    assert heights == sorted(heights)


def test_a_ramp_without_length_is_a_jump() -> None:
    assert [Ramp(start=0.5, end=0.5).at(step, 10) for step in (4, 5)] == [0, 1]
    assert Ramp(start=0.0, end=0.0).at(0, 10) == 1


def test_a_ramp_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"expected a ramp that starts before it ends, got 0.5 to 0.3"):
        TypeAdapter(ObjectiveConfig).validate_python({"ramp": {"start": 0.5}})


@pytest.mark.parametrize("shape", HALF_WAY)
def test_the_rate_rises_for_the_warm_up_then_takes_its_shape(shape: Shape) -> None:
    rates = [rate_at(shape, 0.1, step, 100) for step in range(100)]
    assert rates[:11] == sorted(set(rates[:11]))
    assert rates[0] > 0
    assert max(rates) == rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(HALF_WAY[shape])
    assert rates[-1] == (1 if shape == "constant" else pytest.approx(0, abs=0.012))
    assert rate_at(shape, 0.0, 0, 100) == 1


def test_a_line_between_two_values_meets_both() -> None:
    assert [between(3, 1, step, 5) for step in range(5)] == [3, 2.5, 2, 1.5, 1]
    assert between(3, 1, 0, 1) == 3
