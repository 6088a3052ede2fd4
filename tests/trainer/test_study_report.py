"""What a report says: figures that were worked out by hand, and faults that are not passed over."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image

from elastier_trainer.study.comparisons import (
    Cell,
    ladder_rows,
    paired_rows,
    super_additivity_rows,
)
from elastier_trainer.study.folder import study
from elastier_trainer.study.markdown import markdown, percent, table
from elastier_trainer.study.report import errors_of, width_of
from elastier_trainer.study.results import BatchDigests, differing_batches
from support.fake_study import ALL_RECIPES, FakeTrainer, write_study

OPTIMIZERS = {"adamw": {}, "eager": {"set": {"optimizer.name": "adamw", "optimizer.lr": 0.05}}}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of all recipes with two optimizers."""
    folder = tmp_path_factory.mktemp("study")
    file = write_study(folder, recipes=ALL_RECIPES, optimizers=OPTIMIZERS)
    study(file, folder / "out", command="elastier study small.yaml", train_job=FakeTrainer())
    return folder / "out"


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "study.json").read_text())
    return found


def row_of(rows: Sequence[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    found = [row for row in rows if wanted.items() <= row.items()]
    assert len(found) == 1
    return found[0]


def test_every_run_says_what_it_was_what_came_out_and_what_it_took(report: dict[str, Any]) -> None:
    row = row_of(report["runs"], recipe="matta", optimizer="adamw", seed=1, width=4)
    assert {key: row[key] for key in ("metric", "train_seconds", "steps")} == {
        "metric": "auc",
        "train_seconds": 3.0,
        "steps": 24,
    }
    # 0.7 + 0.05·0.9 + 0.01·1 for the teachers, 0.01 for the seed, 0.1·0.01 for the rate, 0.004 for the width.
    assert row["value"] == pytest.approx(0.77)


def test_a_recipe_is_paired_with_each_baseline_of_its_width(report: dict[str, Any]) -> None:
    baselines = [
        (row["baseline"], row["width"])
        for row in report["paired"]
        if (row["recipe"], row["optimizer"]) == ("matta", "adamw")
    ]
    assert baselines == [("alone", 2), ("alone_ta", 8), ("distilled", 2)]


def test_a_change_of_loss_is_that_of_the_fake_trainers_rule(report: dict[str, Any]) -> None:
    # Of both the loss is 0.299 − 0.002 − 0.01·seed but for what the teachers give, and a seed's own 0.0001.
    row = row_of(report["paired"], recipe="matta", optimizer="adamw", baseline="alone", width=2)
    alone = [0.297, 0.297 - 0.0101, 0.297 - 0.0202]
    matta = [0.297 - 0.055, 0.297 - 0.055 - 0.01, 0.297 - 0.055 - 0.02]
    changes = [after / before - 1 for after, before in zip(matta, alone, strict=True)]
    assert row["relative_loss_change"] == pytest.approx(sum(changes) / 3)
    assert row["low"] < row["relative_loss_change"] < row["high"] < 0
    assert row["seeds"] == 3


def test_the_paired_list_holds_one_optimizer_at_a_time_and_the_other_list_two(report: dict[str, Any]) -> None:
    keys = [(row["recipe"], row["optimizer"], row["baseline"], row["width"]) for row in report["paired"]]
    assert len(set(keys)) == len(keys)
    assert {row["baseline_optimizer"] for row in report["across_optimizers"]} == {"adamw"}
    assert {row["optimizer"] for row in report["across_optimizers"]} == {"eager"}
    own = row_of(report["across_optimizers"], recipe="matta", baseline="matta", width=2)
    assert own["difference"] == pytest.approx(0.1 * (0.05 - 0.01))


def test_gains_of_optimizer_and_recipe_that_add_up_are_no_super_additivity(report: dict[str, Any]) -> None:
    row = row_of(report["super_additivity"], recipe="matta", optimizer="eager", baseline="alone", width=2)
    assert row["beyond_the_sum"] == pytest.approx(0, abs=1e-12)


def test_a_separate_ta_is_part_of_what_its_recipe_costs(report: dict[str, Any]) -> None:
    assert row_of(report["cost"], recipe="separate_ta", optimizer="adamw")["train_seconds"] == 2.0
    student = row_of(report["runs"], recipe="separate_ta", optimizer="adamw", seed=0, width=2)
    assert (student["train_seconds"], student["teacher_seconds"]) == (1.0, 1.0)


def test_super_additivity_is_the_gain_beyond_the_sum_by_hand() -> None:
    cells: dict[Cell, dict[int, float]] = {
        ("alone", "adamw", 2): {0: 0.70, 1: 0.70},
        ("alone", "soap", 2): {0: 0.71, 1: 0.72},
        ("matta", "adamw", 2): {0: 0.75, 1: 0.75},
        ("matta", "soap", 2): {0: 0.78, 1: 0.80},
    }
    (row,) = super_additivity_rows(cells, ["alone", "matta"], nested={"matta"}, reference="adamw")
    assert row["beyond_the_sum"] == pytest.approx(((0.08 - 0.05 - 0.01) + (0.10 - 0.05 - 0.02)) / 2)


def test_a_ladder_is_compared_with_the_next_smaller_width_in_order() -> None:
    cells: dict[Cell, dict[int, float]] = {
        ("matta", "adamw", width): {0: value} for width, value in ((8, 0.72), (2, 0.70), (4, 0.75))
    }
    rows = [(row["width"], row["next_smaller"], round(row["difference"], 6)) for row in ladder_rows(cells)]
    assert rows == [(4, 2, 0.05), (8, 4, -0.03)]


def test_a_baseline_is_compared_with_those_before_it_alone() -> None:
    names = ("alone", "distilled", "matta")
    cells: dict[Cell, dict[int, float]] = {(name, "adamw", 2): {0: 0.7} for name in names}
    pairs = [(row["recipe"], row["baseline"]) for row in paired_rows(cells, ["alone", "distilled"])]
    assert pairs == [("distilled", "alone"), ("matta", "alone"), ("matta", "distilled")]


def test_a_recipe_without_a_width_of_the_baseline_is_not_paired_with_it() -> None:
    cells: dict[Cell, dict[int, float]] = {
        ("alone", "adamw", 2): {0: 0.7},
        ("alone_ta", "adamw", 8): {0: 0.8},
    }
    assert list(paired_rows(cells, ["alone", "alone_ta"])) == []


def test_other_rows_are_an_error_of_the_report(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    ending = study(file, tmp_path / "out", train_job=FakeTrainer(odd_rows=("matta/adamw/nested/seed2",)))
    assert ending.report["batches"]["same"] is False
    expected = "matta/adamw/nested/seed2 saw other labelled rows than alone/adamw/w2/seed2"
    assert errors_of(ending.report) == [expected]
    text = (tmp_path / "out/study.md").read_text()
    assert f"**Error:** {expected}" in text
    assert "saw the same rows" not in text


def digests(steps: int, labelled: str, unlabelled: str = "", **changes: Any) -> BatchDigests:
    """One letter a chunk of 100 steps."""
    known = {
        "steps": steps,
        "labelled": tuple(labelled),
        "unlabelled": tuple(unlabelled),
        "labelled_rows": 32,
        "labelled_fraction": 0.2,
        "unlabelled_rows": 96,
    }
    return BatchDigests.model_validate(known | changes)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (digests(200, "ab", "xy"), digests(200, "ab", "xy"), True),
        (digests(200, "ab", "xy"), digests(200, "ac", "xy"), False),
        (digests(200, "ab", "xy"), digests(200, "ab", "xz"), False),
        # Without a teacher there is no use for rows without labels.
        (digests(200, "ab", "xy"), digests(200, "ab"), True),
        # The longer run's second chunk has more steps than the shorter one's.
        (digests(150, "ab"), digests(300, "acd"), True),
        (digests(150, "ab"), digests(300, "bcd"), False),
        # Another number of rows was asked for.
        (digests(100, "a"), digests(100, "b", labelled_rows=64), True),
        (digests(100, "a"), digests(100, "b", labelled_fraction=1.0), True),
    ],
)
def test_rows_are_compared_as_far_as_two_runs_can_be(
    left: BatchDigests, right: BatchDigests, same: bool
) -> None:
    assert (differing_batches([("left", left), ("right", right)]) == []) is same


def test_the_markdown_says_what_the_paper_found_beside_what_came_out(report: dict[str, Any]) -> None:
    text = markdown(report)
    assert "−8.05 % of AUC loss for the student, −9.47 % for the TA" in text
    assert "elastier study small.yaml" in text
    row = row_of(report["paired"], recipe="matta", optimizer="adamw", baseline="alone", width=2)
    change, low, high = (percent(row[key]) for key in ("relative_loss_change", "low", "high"))
    assert f"| matta | adamw | alone | {change} [{low}, {high}] |  |" in text
    assert "| recipe | optimizer | baseline | 2 (student) | 8 (TA) |" in text
    assert "saw the same rows" in text
    for title in ("Metric per width", "Is the ladder even?", "More than the sum of both?", "Training cost"):
        assert f"## {title}" in text


def test_a_study_of_one_seed_has_no_intervals_and_says_so(tmp_path: Path) -> None:
    file = write_study(tmp_path, seeds=[3], optimizers=OPTIMIZERS, recipes=["alone", "matta"])
    ending = study(file, tmp_path / "out", train_job=FakeTrainer())
    assert {row["low"] for row in ending.report["paired"]} == {None}
    assert "one seed says nothing" in (tmp_path / "out/study.md").read_text()


def test_a_study_without_results_yet_has_a_report_that_says_so(tmp_path: Path) -> None:
    ending = study(write_study(tmp_path), tmp_path / "out", train_job=FakeTrainer(), stop=lambda: True)
    assert ending.interrupted
    text = (tmp_path / "out/study.md").read_text()
    assert "Not done yet: 10 runs, such as alone/adamw/w2/seed1000/trial0" in text
    assert not list((tmp_path / "out").glob("*.png"))


def test_the_plots_are_pictures_of_a_sensible_size(out: Path) -> None:
    for name in ("widths.png", "changes.png", "cost.png"):
        height, width, _ = image.imread(out / name).shape
        assert 300 < height < 3000
        assert 600 < width < 3000


def test_names_say_the_width_or_stay_names() -> None:
    assert width_of("w64") == 64
    assert width_of("w64-b0") == "w64-b0"


def test_a_table_without_rows_is_no_table() -> None:
    assert table(["a"], []) == ""
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"
