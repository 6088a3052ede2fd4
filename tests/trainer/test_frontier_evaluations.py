"""Evaluations on disk: none is made twice, and a search that was cut off goes on as if it was not."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from elastier_trainer.errors import ConfigError
from elastier_trainer.frontier.evaluations import keep_evaluations
from elastier_trainer.frontier.pareto import Point
from elastier_trainer.frontier.search import search
from elastier_trainer.frontier.space import space_of
from elastier_trainer.submodel import Submodel
from support.mixes import UNIFORM, AdditiveQuality, log_cost, uniform

SUBJECT = {"weights_sha256": "ab", "seed": 0}


def run(path: Path, quality: AdditiveQuality, evaluations: int = 40) -> dict[Submodel, float]:
    return search(
        space_of(UNIFORM),
        UNIFORM.submodels,
        keep_evaluations(path, SUBJECT, quality),
        log_cost,
        reference=Point(log_cost(UNIFORM.ta), 0.5),
        evaluations=evaluations,
        seed=0,
    )


def test_a_second_search_asks_nothing_again_and_finds_the_same(tmp_path: Path) -> None:
    first, second = AdditiveQuality(), AdditiveQuality()
    found = run(tmp_path / "e.jsonl", first)
    assert run(tmp_path / "e.jsonl", second) == found
    assert (len(first.asked), len(second.asked)) == (40, 0)


def test_a_larger_budget_only_asks_what_is_new(tmp_path: Path) -> None:
    quality = AdditiveQuality()
    run(tmp_path / "e.jsonl", quality, 20)
    found = run(tmp_path / "e.jsonl", quality, 50)
    assert len(quality.asked) == len(set(quality.asked)) == 50
    assert list(found.items()) == list(run(tmp_path / "other.jsonl", AdditiveQuality(), 50).items())


def test_a_search_that_broke_off_in_the_middle_of_a_line_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"

    class Broken(AdditiveQuality):
        def __call__(self, submodels: Sequence[Submodel]) -> list[float]:
            if len(self.asked) >= 20:
                raise KeyboardInterrupt
            return super().__call__(submodels)

    with pytest.raises(KeyboardInterrupt):
        run(path, Broken())
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"widths": [8, 1')
    rest = AdditiveQuality()
    found = run(path, rest)
    assert len(rest.asked) == 40 - (whole.count(b"\n") - 1)
    assert path.read_bytes().startswith(whole)
    assert found == run(tmp_path / "other.jsonl", AdditiveQuality())
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 41


def test_evaluations_of_another_run_or_seed_are_refused_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    keep_evaluations(path, SUBJECT, AdditiveQuality())([uniform(8)])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"found others \(seed differ\); choose another folder"):
        keep_evaluations(path, SUBJECT | {"seed": 1}, AdditiveQuality())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", ["no json\n", '{"seed": 0, "weights_sha256": "ab"}\n{"widths": [8]}\n', "[1]\n"]
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match="expected evaluations"):
        keep_evaluations(path, SUBJECT, AdditiveQuality())
