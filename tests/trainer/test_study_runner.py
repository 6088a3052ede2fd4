"""Running a study: every job once, stopped and resumed, failures by name; with a trainer that trains nothing."""

import json
import threading
from pathlib import Path

import pytest

from elastier_trainer.errors import ConfigError, TrainerError
from elastier_trainer.study import runner
from elastier_trainer.study.folder import StudyEnding, report_study, study
from elastier_trainer.study.job import JobOrder, Stop
from elastier_trainer.study.report import errors_of
from elastier_trainer.study.results import JobResult
from support.fake_study import ALL_RECIPES, FakeTrainer, write_study


def run(file: Path, trainer: FakeTrainer, *, only: frozenset[str] = frozenset()) -> StudyEnding:
    return study(file, file.parent / "out", train_job=trainer, only=only, stop=trainer.stopped)


def test_every_recipe_is_trained_for_every_seed_after_its_trials(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    ending = run(write_study(tmp_path, recipes=ALL_RECIPES), trainer)
    # Seven recipes, one of them of two networks; the TA of separate_ta is nobody else's run here.
    assert len(trainer.names) == len(set(trainer.names)) == 8 * (2 + 3)
    assert not ending.interrupted
    assert errors_of(ending.report) == []
    assert ending.report["missing"] == []
    rows = [(row["recipe"], row["width"]) for row in ending.report["runs"] if row["seed"] == 2]
    assert rows.count(("separate_ta", 8)) == rows.count(("separate_ta", 2)) == 1
    assert [width for recipe, width in rows if recipe == "matta"] == [2, 4, 8]


def test_the_student_of_a_separate_ta_learns_from_the_run_of_that_seed(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    run(write_study(tmp_path, recipes=["separate_ta"], optimizers={"adamw": {}}), trainer)
    folders = {order.name: order.folder for order in trainer.orders}
    for order in trainer.orders:
        if "/w2/" in order.name:
            ta = folders[order.name.replace("/w2/", "/w8/")]
            assert getattr(order.config.teacher, "checkpoint", None) == ta / "run"


def test_trials_are_judged_on_validation_and_only_reported_seeds_on_test(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    run(write_study(tmp_path), trainer)
    splits = {(order.split, order.config.seed == 1000) for order in trainer.orders}
    assert splits == {("validation", True), ("test", False)}


def test_a_study_that_was_stopped_goes_on_and_ends_as_if_it_never_stopped(tmp_path: Path) -> None:
    recipes = ["alone", "separate_ta", "matta"]
    whole_folder, parts_folder = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole_folder, parts_folder):
        folder.mkdir()
    whole = FakeTrainer()
    run(write_study(whole_folder, recipes=recipes), whole)
    file = write_study(parts_folder, recipes=recipes)
    parts: list[str] = []
    for _ in range(5):
        trainer = FakeTrainer(stop_after=8)
        ending = run(file, trainer)
        parts += trainer.names
        if not ending.interrupted:
            break
        assert ending.report["missing"]
    assert sorted(parts) == sorted(whole.names)
    assert (parts_folder / "out/study.json").read_bytes() == (whole_folder / "out/study.json").read_bytes()


def test_a_study_that_is_done_trains_nothing_again(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    run(file, FakeTrainer())
    again = FakeTrainer()
    run(file, again)
    assert again.names == []


def test_a_changed_study_trains_again_what_changed_and_nothing_else(tmp_path: Path) -> None:
    run(write_study(tmp_path), FakeTrainer())
    more = FakeTrainer()
    run(write_study(tmp_path, seeds=[0, 1, 2, 3]), more)
    assert more.names == ["alone/adamw/w2/seed3", "matta/adamw/nested/seed3"]
    changed = FakeTrainer()
    weighted = {"recipe": "matta", "set": {"objective.w_student": 3}}
    run(write_study(tmp_path, recipes=["alone", weighted]), changed)
    assert {name.split("/")[0] for name in changed.names} == {"matta"}


def test_a_failed_job_is_reported_by_name_and_the_rest_goes_on(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    ending = run(file, FakeTrainer(failing=("matta/adamw/nested/seed1",)))
    failures = {failure["job"]: failure["error"] for failure in ending.report["failures"]}
    assert failures == {"matta/adamw/nested/seed1": "step 3: expected a finite loss, got nan"}
    assert {row["seed"] for row in ending.report["runs"] if row["recipe"] == "matta"} == {0, 2}
    assert {row["seeds"] for row in ending.report["paired"]} == {2}
    again = FakeTrainer()
    assert errors_of(run(file, again).report) == []
    assert again.names == ["matta/adamw/nested/seed1"]


def test_a_trial_that_failed_is_told_but_is_no_error(tmp_path: Path) -> None:
    ending = run(write_study(tmp_path), FakeTrainer(failing=("matta/adamw/nested/seed1000/trial1",)))
    assert errors_of(ending.report) == []
    assert [trial["job"] for trial in ending.report["failed_trials"]] == [
        "matta/adamw/nested/seed1000/trial1"
    ]
    tuned = {row["recipe"]: row["settings"] for row in ending.report["tuned"]}
    assert tuned == {"alone": {"optimizer.lr": 0.02}, "matta": {"optimizer.lr": 0.01}}


def test_only_one_recipe_runs_if_told_so_and_the_rest_is_missing(tmp_path: Path) -> None:
    trainer = FakeTrainer()
    file = write_study(tmp_path)
    ending = run(file, trainer, only=frozenset({"matta"}))
    assert {name.split("/")[0] for name in trainer.names} == {"matta"}
    assert not ending.interrupted
    assert {name.split("/")[0] for name in ending.report["missing"]} == {"alone"}
    with pytest.raises(ConfigError, match=r"expected recipes of \['alone', 'matta'\], got \['mata'\]"):
        run(file, trainer, only=frozenset({"mata"}))


def test_as_many_jobs_run_at_a_time_as_there_are_workers(tmp_path: Path) -> None:
    fake, both = FakeTrainer(), threading.Barrier(2, timeout=10)

    def meeting(order: JobOrder, stop: Stop) -> JobResult:
        both.wait()  # a job by itself would wait in vain
        return fake(order, stop)

    ending = study(write_study(tmp_path, seeds=[0, 1]), tmp_path / "out", workers=2, train_job=meeting)
    assert errors_of(ending.report) == []


def test_the_report_is_written_again_from_the_folder_alone(tmp_path: Path) -> None:
    file = write_study(tmp_path, recipes=ALL_RECIPES)
    out = tmp_path / "out"
    study(file, out, command="elastier study small.yaml --out out", train_job=FakeTrainer())
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    file.unlink()
    for name in ("study.md", "widths.png"):
        (out / name).unlink()
    report = report_study(out)
    assert report == json.loads(before["study.json"])
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_no_two_studies_work_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "WAIT_FOR_LOCK_S", 0.0)
    file = write_study(tmp_path)
    with (
        runner.locked_study(tmp_path / "out"),
        pytest.raises(TrainerError, match="another study works in this folder"),
    ):
        run(file, FakeTrainer())


def test_a_folder_of_something_else_or_of_another_study_is_refused(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    with pytest.raises(TrainerError, match="expected a new or empty folder"):
        study(file, tmp_path, train_job=FakeTrainer())
    run(file, FakeTrainer())
    with pytest.raises(ConfigError, match="expected the folder of study other, it has study small"):
        run(write_study(tmp_path, name="other"), FakeTrainer())
    with pytest.raises(TrainerError, match=r"expected the folder of a study, found no study\.yaml"):
        report_study(tmp_path / "nothing")


def test_networks_stay_out_of_version_control(tmp_path: Path) -> None:
    run(write_study(tmp_path), FakeTrainer())
    assert (tmp_path / "out/jobs/.gitignore").read_text() == "*\n"
