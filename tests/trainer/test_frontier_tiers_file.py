"""The tier file: what was written is read back, and what no model has is refused by its key."""

from pathlib import Path

import pytest

from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.tiers_file import read_tiers, write_tiers
from elastier_trainer.submodel import Ladder, Submodel

FULL = Submodel(widths=(64, 64, 32), layers=(0, 1, 2), model_dim=16)
TA = "  - {name: ta, widths: [64, 64, 32], layers: [0, 1, 2], model_dim: 16}\n"


def read(tmp_path: Path, text: str, full: Submodel = FULL) -> Ladder:
    path = tmp_path / "tiers.yaml"
    path.write_text(text)
    return read_tiers(path, full)


def test_a_ladder_is_written_for_people_and_read_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "tiers.yaml"
    ladder = Ladder(
        students={
            "w8-b0.2": Submodel(widths=(8, 8), layers=(0, 2), model_dim=16),
            "mix2": Submodel(widths=(64, 8, 8), layers=(0, 1, 2), model_dim=8),
            "ta": FULL,
        }
    )
    write_tiers(path, ladder)
    found = read_tiers(path, FULL)
    assert list(found.students.items()) == list(ladder.students.items())
    assert TA in path.read_text()


def test_layers_and_model_dimension_are_the_tas_if_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, "tiers:\n  - {name: a, widths: [8, 64, 8]}\n" + TA)
    assert found.students["a"] == Submodel(widths=(8, 64, 8), layers=(0, 1, 2), model_dim=16)


def test_a_model_whose_dimension_does_not_nest_takes_0(tmp_path: Path) -> None:
    full = Submodel(widths=(8,), layers=(0,), model_dim=0)
    assert read(tmp_path, "tiers: [{name: a, widths: [4]}, {name: ta, widths: [8]}]", full).ta == full
    with pytest.raises(
        ConfigError, match=r"tiers.0.model_dim: expected 0, since it does not nest here, got 4"
    ):
        read(tmp_path, "tiers: [{name: a, widths: [4], model_dim: 4}, {name: ta, widths: [8]}]", full)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "top level: .*got None"),
        ("tiers: []", "tiers: Tuple should have at least 1 item"),
        ("tiers: [", "not valid YAML"),
        ("tears: []\ntiers: []", "tears: unknown key"),
        ("tiers:\n  - {widths: [8]}\n", "tiers.0.name: expected a value, got none"),
        ("tiers:\n  - {name: A b, widths: [8]}\n", "tiers.0.name: .*got 'A b'"),
        ("tiers:\n  - {name: a, widths: [0, 8, 8]}\n", "tiers.0.widths.0: .*greater than 0, got 0"),
        ("tiers:\n  - {name: a, widths: [8, 8]}\n" + TA, "tiers.0.widths: expected one for each of 3 layers"),
        ("tiers:\n  - {name: a, widths: [8, 8, 33]}\n" + TA, "tiers.0.widths.2: expected at most 32, got 33"),
        (
            "tiers:\n  - {name: a, widths: [8, 8], layers: [1, 0]}\n" + TA,
            r"tiers.0.layers: expected ascending blocks below 3, got \[1, 0\]",
        ),
        ("tiers:\n  - {name: a, widths: [8], layers: [3]}\n" + TA, "tiers.0.layers: expected ascending"),
        (
            "tiers:\n  - {name: a, widths: [8, 8, 8], model_dim: 17}\n" + TA,
            "tiers.0.model_dim: expected 1 to 16, got 17",
        ),
        (
            "tiers:\n  - {name: a, widths: [8, 8, 8]}\n  - {name: a, widths: [8, 8, 16]}\n" + TA,
            "tiers.1.name: expected unique names, got 'a' again",
        ),
        (
            "tiers:\n  - {name: a, widths: [8, 8, 8]}\n  - {name: b, widths: [8, 8], layers: [0, 2]}\n" + TA,
            "tiers.1: expected the cheapest first, got a part of 'a' after it",
        ),
        (
            "tiers:\n" + TA + TA.replace("ta", "same"),
            "tiers.1: expected the cheapest first, got a part of 'ta'",
        ),
        (
            "tiers:\n  - {name: a, widths: [8, 8, 8]}\n",
            r"expected the TA last, \{widths: \[64, 64, 32\], .*got \{widths: \[8, 8, 8\]",
        ),
    ],
)
def test_what_the_model_does_not_have_is_refused_by_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "tiers.yaml"))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "tiers:\n  - {name: a, widths: [65, 8, 33]}\n  - {name: a, widths: [8]}\n" + TA)
    for key in ("tiers.0.widths.0", "tiers.0.widths.2", "tiers.1.name", "tiers.1.widths"):
        assert key in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a tier file, cannot read it: No such file"):
        read_tiers(tmp_path / "none.yaml", FULL)
