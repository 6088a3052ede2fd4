import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from elastier_trainer.checkpoint import load_trained
from elastier_trainer.config import OptimizerConfig, load_config
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import ConfigError, DivergenceError, TrainerError
from elastier_trainer.evaluate import evaluate_widths, ladder_logits
from elastier_trainer.optimizer import learning_rate
from elastier_trainer.run import TrainReport, run_training
from elastier_trainer.sampling import ShuffledRows, make_batches, sample_middle
from elastier_trainer.teachers.logits import write_logits
from support.small_run import SMALL_LADDER, read_metrics, write_small_run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return write_small_run(tmp_path)


def run(config_file: Path, name: str = "run", **changes: Any) -> TrainReport:
    """Train with `changes` over the config; a dot in a key is written as two underscores."""
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return run_training(load_config(config_file, overrides), config_file.parent / name)


def test_a_run_learns_every_width(tmp_path: Path) -> None:
    config_file = write_small_run(tmp_path, rows=4000, steps=150, eval_every=150, unlabelled_rows=224)
    report = run(config_file)
    assert report.ending == "all steps"
    assert list(report.validation_auc) == list(SMALL_LADDER)
    assert min(report.validation_auc.values()) > 0.65
    assert report.validation_auc[16] > report.validation_auc[2]


def test_every_term_of_every_step_is_logged(config_file: Path) -> None:
    report = run(config_file)
    lines = read_metrics(report.run)
    assert [line["step"] for line in lines] == list(range(1, 25))
    for line in lines:
        for name in ("ta", "student", "middle"):
            assert line[f"{name}_task"] > 0
            assert line[f"{name}_teacher"] > 0
        assert line["student_ta"] >= 0
        assert line["rows_per_second"] > 0
    config = load_config(config_file).objective
    last = lines[-1]
    own = {
        name: (1 - config.alpha) * last[f"{name}_task"] + config.alpha * last[f"{name}_teacher"]
        for name in ("ta", "student", "middle")
    }
    assert last["loss"] == pytest.approx(
        sum(own.values()) + last["w_distill"] * (last["student_ta"] + last["middle_ta"]), rel=1e-5
    )


def test_validation_auc_is_logged_at_evaluations_and_is_that_of_the_weights(config_file: Path) -> None:
    report = run(config_file)
    evaluated = {
        line["step"]: line["validation_auc"] for line in read_metrics(report.run) if "validation_auc" in line
    }
    assert sorted(evaluated) == [8, 16, 24]
    trained = load_trained(report.run)
    dataset = load_dataset(trained.data, trained.schema)
    found = [auc.value for auc in evaluate_widths(trained.model, dataset, "validation", trained.ladder)]
    assert found == pytest.approx(list(evaluated[trained.record.step].values()))


def test_the_best_weights_are_kept_not_the_last(config_file: Path) -> None:
    report = run(config_file, steps=80, optimizer__lr=3.0, optimizer__clip_norm=1e6)
    evaluated = [line for line in read_metrics(report.run) if "validation_auc" in line]
    means = {line["step"]: sum(line["validation_auc"].values()) / len(SMALL_LADDER) for line in evaluated}
    best = max(means, key=lambda step: means[step])
    assert load_trained(report.run).record.step == best
    assert f"step {best} of 80" in report.weights


def test_a_named_width_chooses_the_weights(config_file: Path) -> None:
    report = run(config_file, watch_width=4)
    evaluated = {
        line["step"]: line["validation_auc"]["4"]
        for line in read_metrics(report.run)
        if "validation_auc" in line
    }
    assert report.validation_auc[4] == max(evaluated.values())
    assert "width 4" in report.weights


def test_a_run_that_gets_no_better_stops_early(config_file: Path) -> None:
    report = run(config_file, steps=500, eval_every=1, patience=3, optimizer__lr=1e-9)
    assert report.ending == "early stop"
    assert report.steps_taken < 500
    assert load_trained(report.run).record.step == report.steps_taken - 3


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config_file: Path) -> None:
    first, again, other = (run(config_file, name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    weights = [load_trained(report.run).model.state_dict() for report in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


def test_the_config_in_the_runs_folder_repeats_the_run(config_file: Path) -> None:
    first = run(config_file, seed=5)
    again = run_training(load_config(first.run / "config.yaml"), config_file.parent / "again")
    weights, repeated = (load_trained(report.run).model.state_dict() for report in (first, again))
    assert all(torch.equal(weights[name], repeated[name]) for name in weights)


def test_without_a_teacher_labels_alone_train(config_file: Path) -> None:
    report = run(config_file, teacher=None, objective__alpha=0.0)
    assert "ta_teacher" not in read_metrics(report.run)[0]


def test_a_ladder_of_one_width_trains_the_ta_alone(config_file: Path) -> None:
    report = run(config_file, ladder=[16])
    assert {"student_task", "middle_task"}.isdisjoint(read_metrics(report.run)[0])


def test_a_loss_that_is_not_finite_stops_with_step_term_and_rows(config_file: Path) -> None:
    config = load_config(config_file)
    dataset = load_dataset(config.data, config.schema)
    logits_R = torch.full((len(dataset.labels_R),), 3e38)
    assert config.teacher is not None
    write_logits(config.teacher, dataset.row_ids_R, logits_R, teacher="huge", data_sha256=dataset.sha256)
    with pytest.raises(
        DivergenceError, match=r"step 1: expected a finite \w+_teacher, got .*128 rows, ids \[7"
    ):
        run(config_file, objective__tau=1e-3)
    kept = json.loads((config_file.parent / "run/divergence.json").read_text())
    assert kept["step"] == 1
    assert len(kept["row_ids"]) == 128
    assert set(kept["row_ids"]) <= set(dataset.row_ids_R.tolist())
    assert not (config_file.parent / "run/model").exists()


def test_unlabelled_rows_without_any_are_refused(config_file: Path) -> None:
    with pytest.raises(ConfigError, match="unlabelled_rows: expected 0"):
        run(config_file, labelled_fraction=1.0)


def test_a_fraction_that_leaves_no_label_is_refused(config_file: Path) -> None:
    with pytest.raises(ConfigError, match="labelled_fraction: expected at least one of 700 rows, got 1e-06"):
        run(config_file, labelled_fraction=1e-6)


def test_the_threads_of_the_process_are_given_back(config_file: Path) -> None:
    before = torch.get_num_threads()
    run(config_file, threads=before + 1)
    assert torch.get_num_threads() == before


def test_a_foreign_folder_is_left_alone(config_file: Path) -> None:
    folder = config_file.parent / "precious"
    (folder / "model").mkdir(parents=True)
    with pytest.raises(TrainerError, match="precious: expected a new or empty folder"):
        run_training(load_config(config_file), folder, force=True)
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_every_epoch_visits_every_row_once_in_another_order() -> None:
    pool_P = torch.arange(100, 110)
    rows = ShuffledRows(pool_P, rows=4, seed=0, stream=1)
    stream = torch.cat([rows.at(step) for step in range(5)])
    first, second = stream[:10], stream[10:]
    assert first.sort().values.equal(pool_P)
    assert second.sort().values.equal(pool_P)
    assert not first.equal(second)


def test_a_batch_depends_on_nothing_but_seed_and_step() -> None:
    pool_P = torch.arange(10)
    walked, jumped = (ShuffledRows(pool_P, rows=7, seed=3, stream=1) for _ in range(2))
    batches = [walked.at(step) for step in range(6)]
    assert jumped.at(5).equal(batches[5])
    assert jumped.at(2).equal(batches[2])


def test_a_batch_larger_than_the_pool_repeats_it() -> None:
    batch = ShuffledRows(torch.arange(3), rows=8, seed=0, stream=1).at(0)
    assert batch.bincount().tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_labelled_and_unlabelled_rows_are_training_rows_and_never_the_same(config_file: Path) -> None:
    config = load_config(config_file)
    dataset = load_dataset(config.data, config.schema)
    batches = [make_batches(config, dataset, None).at(step) for step in range(20)]
    labelled = {row for batch in batches for row in batch.row_ids_R[:32].tolist()}
    unlabelled = {row for batch in batches for row in batch.row_ids_R[32:].tolist()}
    train = set(dataset.row_ids_R[dataset.splits["train"]].tolist())
    assert len(labelled) == round(0.2 * len(train))
    assert labelled.isdisjoint(unlabelled)
    assert labelled | unlabelled <= train


def test_middle_widths_are_uniform_over_the_inner_ladder() -> None:
    ladder = [(2, 2), (4, 4), (8, 8), (16, 16), (32, 32)]
    drawn = [sample_middle(ladder, seed=0, step=step) for step in range(900)]
    for inner in ladder[1:-1]:
        assert 240 < drawn.count(inner) < 360
    assert sample_middle(ladder[:2], seed=0, step=0) is None


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = OptimizerConfig(lr=0.1, warmup_fraction=0.1)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.05)
    assert 0 < rates[-1] < 1e-4
    assert all(map(math.isfinite, rates))


def test_evaluation_in_batches_scores_each_row_as_by_itself(config_file: Path) -> None:
    trained = load_trained(run(config_file).run)
    dataset = load_dataset(trained.data, trained.schema)
    positions_S = dataset.splits["validation"]
    for widths, logits_S in zip(
        trained.ladder, ladder_logits(trained.model, dataset, positions_S, trained.ladder), strict=True
    ):
        torch.testing.assert_close(
            logits_S, trained.model(dataset.rows(positions_S), widths).squeeze(1).detach()
        )
