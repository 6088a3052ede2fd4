"""What a study trains: recipes, optimizers, tuning, seeds, and what waits for what."""

from pathlib import Path
from typing import Any

import pytest

from elastier_trainer.config import TrainConfig
from elastier_trainer.errors import ConfigError
from elastier_trainer.study.config import dump_study, load_study, parse_study
from elastier_trainer.study.plan import Blocked, Job, Plan, make_plan
from elastier_trainer.study.recipes import Unit
from elastier_trainer.study.results import BatchDigests, Failure, JobResult, JudgedOn, Outcome
from support.fake_study import ALL_RECIPES, study_document


def plan_of(**changes: Any) -> Plan:
    return make_plan(parse_study(study_document(**changes), source="test"))


def unit_of(recipe: Any, key: str) -> Unit:
    return plan_of(recipes=[recipe]).units[key]


def result(value: float) -> JobResult:
    batches = BatchDigests(
        steps=1, labelled_rows=1, labelled_fraction=1, labelled=(), unlabelled_rows=0, unlabelled=()
    )
    return JobResult(
        split="validation",
        metric="auc",
        values={"w2": value},
        train_seconds=1,
        steps=1,
        batches=batches,
        data_sha256="",
        versions={},
    )


def startable(plan: Plan, outcomes: dict[str, Outcome]) -> dict[str, Job]:
    """Jobs by name that have no outcome and wait for nothing."""
    jobs = [plan.job(slot, outcomes) for slot in plan.slots()]
    return {job.name: job for job in jobs if isinstance(job, Job) and job.digest not in outcomes}


def test_alone_is_the_students_width_by_itself_without_a_teacher() -> None:
    document = unit_of("alone", "alone/adamw/w2").document
    assert document["ladder"] == [2]
    assert document["model"] == {"model_dim": 8, "hidden": 2}
    assert document["teacher"] is None
    assert document["objective"] == {"alpha": 0.0, "w_distill": 0.0}
    assert document["unlabelled_rows"] == 0
    assert document["labelled_rows"] == 32


def test_alone_ta_is_the_largest_network_by_itself() -> None:
    assert unit_of("alone_ta", "alone_ta/adamw/w8").document["ladder"] == [8]


def test_distilled_is_the_twin_at_every_width_that_is_asked_for() -> None:
    units = plan_of(recipes=[{"recipe": "distilled", "widths": [8, 2]}]).units
    assert list(units) == ["distilled/adamw/w2", "distilled/adamw/w8"]
    document = units["distilled/adamw/w2"].document
    assert document["teacher"] == "teacher.parquet"
    assert document["unlabelled_rows"] == 96
    assert "alpha" not in document["objective"]


def test_the_nested_recipes_differ_in_what_teaches_them_alone() -> None:
    documents = {kind: unit_of(kind, f"{kind}/adamw/nested").document for kind in ALL_RECIPES[4:]}
    assert all(document["ladder"] == [2, 4, 8] for document in documents.values())
    assert documents["matformer"]["objective"] == {"alpha": 0.0, "w_distill": 0.0}
    assert documents["nested_teacher"]["objective"] == {"w_distill": 0.0}
    assert "objective" not in documents["matta"]


def test_a_variant_has_its_own_name_and_settings_over_those_of_its_kind() -> None:
    variant = {"name": "matta_w3", "recipe": "matta", "set": {"objective.w_student": 3}}
    assert unit_of(variant, "matta_w3/adamw/nested").document["objective"] == {"w_student": 3}


def test_the_base_configuration_is_left_as_it_is() -> None:
    study = parse_study(study_document(recipes=ALL_RECIPES), source="test")
    make_plan(study)
    assert study.base == study_document()["base"]


def test_trials_come_first_and_the_best_on_validation_is_what_every_seed_gets() -> None:
    plan = plan_of(recipes=["matta"])
    trials = startable(plan, {})
    assert list(trials) == ["matta/adamw/nested/seed1000/trial0", "matta/adamw/nested/seed1000/trial1"]
    assert {job.split for job in trials.values()} == {"validation"}
    digests = [job.digest for job in trials.values()]
    outcomes: dict[str, Outcome] = {digests[0]: result(0.7), digests[1]: result(0.8)}
    reported = startable(plan, outcomes)
    assert list(reported) == [f"matta/adamw/nested/seed{seed}" for seed in (0, 1, 2)]
    assert {job.split for job in reported.values()} == {"test"}
    assert {job.document["optimizer"]["lr"] for job in reported.values()} == {0.02}
    assert [job.document["seed"] for job in reported.values()] == [0, 1, 2]


def test_a_trial_that_failed_cannot_win_and_if_all_fail_the_recipe_is_blocked() -> None:
    plan = plan_of(recipes=["matta"])
    first, second = (job.digest for job in startable(plan, {}).values())
    failure = Failure(job="x", error="nan")
    one_left = startable(plan, {first: failure, second: result(0.1)})
    assert {job.document["optimizer"]["lr"] for job in one_left.values()} == {0.02}
    none_left = plan.job(plan.slots()[-1], {first: failure, second: failure})
    assert none_left == Blocked(reason="every trial of matta/adamw/nested failed")


def test_one_setting_needs_no_trial() -> None:
    plan = plan_of(recipes=["matta"], optimizers={"adamw": {"grid": {"optimizer.lr": [0.03]}}})
    assert {job.document["optimizer"]["lr"] for job in startable(plan, {}).values()} == {0.03}
    assert all(slot.trial is None for slot in plan.slots())


def test_the_student_of_a_separate_ta_waits_for_that_ta_on_its_own_seed() -> None:
    plan = plan_of(recipes=["separate_ta"], optimizers={"adamw": {}}, seeds=[4])
    ta = startable(plan, {})
    assert list(ta) == ["separate_ta/adamw/w8/seed4"]
    ta_digest = ta["separate_ta/adamw/w8/seed4"].digest
    student = startable(plan, {ta_digest: result(0.8)})
    assert student["separate_ta/adamw/w2/seed4"].teacher == ta_digest
    blocked = plan.job(plan.slots()[-1], {ta_digest: Failure(job="separate_ta/adamw/w8/seed4", error="nan")})
    assert blocked == Blocked(reason="its teacher failed: separate_ta/adamw/w8/seed4")


def test_the_ta_of_separate_ta_is_the_very_run_of_distilled_at_that_width() -> None:
    recipes = [{"recipe": "distilled", "widths": [2, 8]}, "separate_ta"]
    plan = plan_of(recipes=recipes, optimizers={"adamw": {}}, seeds=[0])
    jobs = {slot.name: plan.job(slot, {}) for slot in plan.slots()}
    twin, ta = jobs["distilled/adamw/w8/seed0"], jobs["separate_ta/adamw/w8/seed0"]
    assert isinstance(twin, Job)
    assert isinstance(ta, Job)
    assert twin.digest == ta.digest


def job_of(*, name: str = "a", teacher: str | None = None, split: JudgedOn = "test", **keys: Any) -> Job:
    document = {"data": "d.parquet", "schema": "s.yaml", "teacher": "t.parquet", **keys}
    return Job(name=name, document=document, teacher=teacher, split=split)


def test_a_jobs_digest_changes_with_seed_setting_teacher_and_split() -> None:
    others = [job_of(seed=1), job_of(steps=7), job_of(teacher="ta"), job_of(split="validation")]
    assert len({found.digest for found in [job_of(), *others]}) == 5
    assert job_of(name="b").digest == job_of().digest


def test_a_jobs_digest_is_of_its_defaults_too() -> None:
    """Else a default that changes would pass off old results for new ones."""
    assert job_of(steps=TrainConfig.steps).digest == job_of().digest


def test_settings_can_be_tuned_once_for_several_units() -> None:
    widths = {"recipe": "distilled", "widths": [2, 4, 8]}
    shared = plan_of(recipes=[widths], tuning={"each_width": False})
    assert len(startable(shared, {})) == 2
    borrowed = plan_of(recipes=["matta", {"name": "w3", "recipe": "matta", "tuned_as": "matta"}])
    assert [slot.unit.recipe for slot in borrowed.slots() if slot.trial is not None] == ["matta", "matta"]


def test_only_some_recipes_bring_what_they_need_along() -> None:
    recipes = ["alone", "matta", {"name": "w3", "recipe": "matta", "tuned_as": "matta"}]
    slots = plan_of(recipes=recipes).slots(frozenset({"w3"}))
    assert {slot.unit.recipe for slot in slots} == {"matta", "w3"}


def test_a_recipe_may_be_trained_with_some_optimizers_only() -> None:
    optimizers = {"adamw": {}, "careful": {"set": {"optimizer.name": "adamw", "optimizer.lr": 0.001}}}
    recipes = ["matta", {"recipe": "alone", "optimizers": ["adamw"]}]
    units = plan_of(recipes=recipes, optimizers=optimizers).units
    assert list(units) == ["matta/adamw/nested", "matta/careful/nested", "alone/adamw/w2"]
    assert units["matta/careful/nested"].document["optimizer"] == {"name": "adamw", "lr": 0.001}


def test_a_study_reads_back_from_its_plain_values() -> None:
    study = parse_study(study_document(recipes=ALL_RECIPES), source="test")
    assert parse_study(dump_study(study), source="again") == study


EXAMPLES = sorted((Path(__file__).parents[2] / "examples/studies").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_studies_can_be_run(path: Path) -> None:
    study = load_study(path)
    slots = make_plan(study).slots()
    assert study.name == path.stem
    assert len(study.seeds) >= 5
    assert {"alone", "alone_ta", "distilled", "matformer", "nested_teacher", "matta"} <= {
        slot.unit.recipe for slot in slots
    }
    assert f"elastier study examples/studies/{path.name} --out docs/results/{path.stem}" in path.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipes": ["mata"]}, r"recipes\.0\.recipe: .*'matta', got 'mata'"),
        ({"recipes": ["matta", "matta"]}, r"each name once, got \['matta'\] again"),
        ({"seeds": [1, 1]}, r"seeds: expected each once"),
        ({"seeds": [1000]}, r"tuning\.seed: expected none of the reported seeds, got 1000"),
        ({"seedz": [1]}, r"seedz: unknown key"),
        (
            {"optimizers": {"adamw": {"grid": {"optimizer.lr": [1, 2]}}, "soap": {}}},
            r"the same budget for all, got \{'adamw': 2, 'soap': 1\}",
        ),
        ({"recipes": [{"recipe": "matta", "widths": [2]}]}, r"widths belong to alone and distilled"),
        (
            {"recipes": [{"recipe": "alone", "widths": [3]}]},
            r"expected widths of the ladder \[2, 4, 8\], got \[3\]",
        ),
        ({"recipes": [{"recipe": "alone", "optimizers": ["sgd"]}]}, r"expected optimizers of \['adamw'\]"),
        ({"recipes": [{"recipe": "alone", "tuned_as": "matta"}]}, r"tuned_as: expected another recipe"),
        ({"recipes": [{"recipe": "alone", "set": {"optimizer.lr": 1}}]}, r"tuned by the grid"),
        (
            {"recipes": [{"recipe": "matta", "set": {"objective.w_studnt": 1}}]},
            r"matta/adamw/nested: .*w_studnt",
        ),
        (
            {"recipes": [{"recipe": "matta", "set": {"steps.more": 1}}]},
            r"expected steps to be a mapping, got 24",
        ),
    ],
)
def test_a_study_that_cannot_be_meant_is_refused_before_it_starts(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(**changes)
