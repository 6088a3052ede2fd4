import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from elastier_trainer.checkpoint import load_trained
from elastier_trainer.config_file import load_config
from elastier_trainer.data.dataset import Dataset
from elastier_trainer.data.load import load_dataset
from elastier_trainer.errors import ConfigError, DivergenceError, TrainerError
from elastier_trainer.evaluate import evaluate_ladder, ladder_logits
from elastier_trainer.run import TrainReport, run_training
from elastier_trainer.sampling import Batches, ShuffledRows, make_batches, sample_middle
from elastier_trainer.submodel import Ladder, Submodel
from elastier_trainer.teachers.logits import write_logits
from elastier_trainer.teachers.source import LogitsFile
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
    assert list(report.validation) == [f"w{width}" for width in SMALL_LADDER]
    assert min(report.validation.values()) > 0.65
    assert report.validation["w16"] > report.validation["w2"]


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
        sum(own.values()) + last["weights"]["distill"] * (last["student_ta"] + last["middle_ta"]), rel=1e-5
    )


def test_the_metric_is_logged_at_evaluations_and_is_that_of_the_weights(config_file: Path) -> None:
    report = run(config_file)
    evaluated = {
        line["step"]: line["validation"] for line in read_metrics(report.run) if "validation" in line
    }
    assert sorted(evaluated) == [8, 16, 24]
    trained = load_trained(report.run)
    dataset = load_dataset(trained.data, trained.schema)
    submodels = trained.ladder.submodels
    intervals = evaluate_ladder(trained.model, dataset, "validation", submodels, trained.task)
    assert [auc.value for auc in intervals] == pytest.approx(list(evaluated[trained.record.step].values()))


def test_the_best_weights_are_kept_not_the_last(config_file: Path) -> None:
    report = run(config_file, steps=80, optimizer__lr=3.0, optimizer__clip_norm=1e6)
    evaluated = [line for line in read_metrics(report.run) if "validation" in line]
    means = {line["step"]: sum(line["validation"].values()) / len(SMALL_LADDER) for line in evaluated}
    best = max(means, key=lambda step: means[step])
    assert load_trained(report.run).record.step == best
    assert f"step {best} of 80" in report.weights


def test_a_named_student_chooses_the_weights(config_file: Path) -> None:
    report = run(config_file, watch="w4")
    evaluated = {
        line["step"]: line["validation"]["w4"] for line in read_metrics(report.run) if "validation" in line
    }
    assert report.validation["w4"] == max(evaluated.values())
    assert "auc, w4: step" in report.weights


def test_a_run_that_gets_no_better_stops_early(config_file: Path) -> None:
    report = run(config_file, steps=500, eval_every=1, patience=3, optimizer__lr=1e-9)
    assert report.ending == "early stop"
    assert report.steps_taken < 500
    assert load_trained(report.run).record.step == report.steps_taken - 3


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(config_file: Path) -> None:
    first, again, other = (run(config_file, name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    weights = [load_trained(report.run).model.state_dict() for report in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["heads.0.weight"], weights[2]["heads.0.weight"])


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
    assert isinstance(config.teacher, LogitsFile)
    write_logits(
        config.teacher.logits, dataset.row_ids_R, logits_R, teacher="huge", data_sha256=dataset.sha256
    )
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
    expected = "labelled_fraction: expected at least one of 700 training rows with a label, got 1e-06"
    with pytest.raises(ConfigError, match=expected):
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


def batches_of(dataset: Dataset, **changes: Any) -> Batches:
    settings = {"labelled_rows": 32, "unlabelled_rows": 96, "labelled_fraction": 0.2, "seed": 0} | changes
    return make_batches(dataset, None, **settings)


def test_labelled_and_unlabelled_rows_are_training_rows_and_never_the_same(config_file: Path) -> None:
    config = load_config(config_file)
    dataset = load_dataset(config.data, config.schema)
    batches = [batches_of(dataset).at(step) for step in range(20)]
    labelled = {row for batch in batches for row in batch.row_ids_R[:32].tolist()}
    unlabelled = {row for batch in batches for row in batch.row_ids_R[32:].tolist()}
    train = set(dataset.row_ids_R[dataset.splits["train"]].tolist())
    assert len(labelled) == round(0.2 * len(train))
    assert labelled.isdisjoint(unlabelled)
    assert labelled | unlabelled <= train


def test_replicas_share_every_batch_evenly(config_file: Path) -> None:
    config = load_config(config_file)
    dataset = load_dataset(config.data, config.schema)
    whole = batches_of(dataset).at(3)
    parts = [batches_of(dataset, replica=index, replicas=2).at(3) for index in (0, 1)]
    assert [len(part.labels_L) for part in parts] == [16, 16]
    shared = torch.cat([part.row_ids_R for part in parts])
    assert shared.sort().values.equal(whole.row_ids_R.sort().values)
    with pytest.raises(ConfigError, match="labelled_rows: expected a multiple of 3 processes, got 32"):
        batches_of(dataset, replicas=3)


def uniform_ladder(*widths: int) -> Ladder:
    students = {f"w{w}": Submodel(widths=(w, w), layers=(0, 1), model_dim=8) for w in widths}
    return Ladder(students=students)


def test_middle_students_are_uniform_over_the_inner_ladder() -> None:
    ladder = uniform_ladder(2, 4, 8, 16, 32)
    drawn = [sample_middle(ladder, "uniform", seed=0, step=step) for step in range(900)]
    for inner in ladder.submodels[1:-1]:
        assert 240 < drawn.count(inner) < 360
    assert sample_middle(uniform_ladder(2, 32), "uniform", seed=0, step=0) is None
    assert sample_middle(ladder, "none", seed=0, step=0) is None


def test_per_block_students_draw_each_width_by_itself() -> None:
    ladder = uniform_ladder(2, 4, 8)
    drawn = [sample_middle(ladder, "per_block", seed=0, step=step) for step in range(1800)]
    widths = [middle.widths for middle in drawn if middle is not None]
    assert len(widths) == 1800
    for mix in itertools.product((2, 4, 8), repeat=2):
        assert 140 < widths.count(mix) < 260


def test_per_block_students_keep_the_blocks_of_one_of_the_ladder() -> None:
    shallow = Submodel(widths=(4,), layers=(0,), model_dim=8)
    ladder = Ladder(students={"shallow": shallow, **uniform_ladder(8).students})
    drawn = {sample_middle(ladder, "per_block", seed=0, step=step) for step in range(100)}
    layers = {
        middle.layers: {m.widths for m in drawn if m and m.layers == middle.layers}
        for middle in drawn
        if middle
    }
    assert layers == {(0,): {(4,), (8,)}, (0, 1): {(4, 8), (8, 8)}}


def test_evaluation_in_batches_scores_each_row_as_by_itself(config_file: Path) -> None:
    trained = load_trained(run(config_file).run)
    dataset = load_dataset(trained.data, trained.schema)
    positions_S = dataset.splits["validation"]
    submodels = trained.ladder.submodels
    together = trained.model.logits(dataset.rows(positions_S), submodels)
    for in_batches_SC, logits_SC in zip(
        ladder_logits(trained.model, dataset, positions_S, submodels), together, strict=True
    ):
        torch.testing.assert_close(in_batches_SC, logits_SC.detach())


def test_every_axis_trains_together_and_each_student_beats_chance(tmp_path: Path) -> None:
    ladder = [
        {"name": "tiny", "width": 2, "layers": [0, 2], "model_dim": 4},
        {"width": 8, "layers": 2, "spacing": "even"},
        {"width": [4, 8, 4]},
        16,
    ]
    config_file = write_small_run(
        tmp_path,
        rows=4000,
        steps=120,
        eval_every=120,
        ladder=ladder,
        middle="per_block",
        model={"model_dim": 8, "hidden": 16, "blocks": 3},
    )
    report = run(config_file)
    assert list(report.validation) == ["tiny", "w8-b0.2", "w4-8-4", "w16"]
    assert min(report.validation.values()) > 0.6


def test_labels_alone_of_a_teacher_alone_is_a_choice(config_file: Path) -> None:
    report = run(config_file, labelled_rows=0, objective__alpha=1.0)
    assert {"ta_task", "student_task"}.isdisjoint(read_metrics(report.run)[0])


def test_events_for_tensorboard_are_written_on_request(config_file: Path) -> None:
    report = run(config_file, tensorboard=True)
    events = EventAccumulator(str(report.run / "tensorboard"))
    events.Reload()
    losses = events.Scalars("loss")
    assert [event.step for event in losses] == list(range(1, 25))
    assert losses[-1].value == pytest.approx(read_metrics(report.run)[-1]["loss"])
    assert {"validation/w2", "weights/distill", "lr"} <= set(events.Tags()["scalars"])
