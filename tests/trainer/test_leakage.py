"""What makes a metric look better than the model is gets a warning; what is merely good does not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elastier_trainer.data.leakage import single_feature_score
from elastier_trainer.data.load import load_dataset
from elastier_trainer.task import make_task
from support.rows import write_rows

ROWS = 2000


def honest_rows(seed: int = 0) -> dict[str, Any]:
    """Columns of which none tells the label alone, and no two rows are alike."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=ROWS), rng.normal(size=ROWS)
    return {
        "label": (x + y + rng.normal(size=ROWS) > 0).astype(np.int8),
        "city": [f"c{number}" for number in rng.integers(0, 20, ROWS)],
        "x": x,
        "y": y,
    }


def warnings_of(
    folder: Path,
    columns: Mapping[str, Sequence[Any]],
    *,
    label: str = "label: label",
    numeric: str = "x, y",
    more: str = "",
) -> tuple[str, ...]:
    """The warnings of a data set with these columns."""
    schema = f"{label}\ncategorical: [city]\nnumeric: [{numeric}]\n{more}"
    return load_dataset(*write_rows(folder, columns, schema=schema)).warnings


def test_honest_data_get_no_warning(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, honest_rows()) == ()


@pytest.mark.parametrize("sign", [1, -1], ids=["rising", "falling"])
def test_a_number_that_orders_the_labels_is_named(tmp_path: Path, sign: int) -> None:
    columns = honest_rows()
    noise = np.random.default_rng(1).normal(size=ROWS)
    columns["delay"] = sign * (columns["label"] * 8 + noise)
    (warning,) = warnings_of(tmp_path, columns, numeric="x, y, delay")
    assert warning.startswith("column 'delay' alone tells the label: AUC ")


def test_a_number_of_which_only_the_size_tells_the_label_is_named(tmp_path: Path) -> None:
    columns = honest_rows()
    columns["label"] = (np.abs(columns["x"]) > 0.7).astype(np.int8)
    (warning,) = warnings_of(tmp_path, columns)
    assert "'x' alone tells the label" in warning


def test_a_category_that_names_the_label_is_named(tmp_path: Path) -> None:
    columns = honest_rows()
    columns["city"] = [f"c{row % 7 * 2 + label}" for row, label in enumerate(columns["label"])]
    (warning,) = warnings_of(tmp_path, columns)
    assert warning.startswith("column 'city' alone tells the label: AUC 1.0000")


def test_a_key_of_each_row_does_not_pass_for_the_label(tmp_path: Path) -> None:
    columns = honest_rows() | {"city": [f"c{row}" for row in range(ROWS)]}
    assert warnings_of(tmp_path, columns) == ()


def test_a_feature_that_is_the_class_is_named(tmp_path: Path) -> None:
    columns = honest_rows()
    kinds = np.random.default_rng(2).integers(0, 5, ROWS)
    columns |= {"kind": [f"k{kind}" for kind in kinds], "code": kinds * 1.5}
    label = "label: {name: kind, kind: multiclass}"
    assert warnings_of(tmp_path, columns, label=label) == ()
    (warning,) = warnings_of(tmp_path, columns, label=label, numeric="x, y, code")
    assert warning.startswith("column 'code' alone tells the label: accuracy above chance 1.0000")


def test_a_frequent_class_is_no_leak(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    columns = honest_rows() | {"kind": np.where(rng.random(ROWS) < 0.995, "usual", "rare").tolist()}
    assert warnings_of(tmp_path, columns, label="label: {name: kind, kind: multiclass}") == ()


def test_the_label_in_another_unit_is_named(tmp_path: Path) -> None:
    columns = honest_rows()
    columns["price"] = np.random.default_rng(4).normal(size=ROWS)
    columns["cents"] = columns["price"] * 100 + 3
    label = "label: {name: price, kind: regression}"
    assert warnings_of(tmp_path, columns, label=label) == ()
    (warning,) = warnings_of(tmp_path, columns, label=label, numeric="x, y, cents")
    assert warning.startswith("column 'cents' alone tells the label: R² 1.0000")


def test_scores_are_those_of_their_definitions() -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 4000).astype(np.float32)
    coarse = np.where(rng.random(4000) < 0.8, label, 1 - label)
    # A feature right for 80 % of both classes has AUC 0.8; as one of two equally frequent classes it is right
    # for 80 %, 60 % of the way from chance to certainty; as a number it explains 0.6² of the variance.
    assert single_feature_score(coarse, label, make_task("binary")) == pytest.approx(0.8, abs=0.02)
    classes = make_task("multiclass", classes=2)
    assert single_feature_score(coarse, label.astype(np.int64), classes) == pytest.approx(0.6, abs=0.04)
    assert single_feature_score(coarse, label, make_task("regression")) == pytest.approx(0.36, abs=0.04)


def test_a_group_in_two_splits_is_counted(tmp_path: Path) -> None:
    columns = honest_rows() | {"user": np.arange(ROWS) // 4}
    found = warnings_of(tmp_path, columns, more="group: user\n")
    assert len(found) == 2
    assert "groups ('user') of the validation split are in the train split too" in found[0]
    assert "of the test split" in found[1]
    assert warnings_of(tmp_path, columns, more="group: user\nsplit: {by: group}\n") == ()


def test_rows_that_come_again_are_counted(tmp_path: Path) -> None:
    columns = {name: np.asarray(values, dtype=object) for name, values in honest_rows().items()}
    columns["part"] = np.array(["train"] * 1500 + ["validation"] * 250 + ["test"] * 250, dtype=object)
    for values in (columns["label"], columns["city"], columns["x"], columns["y"]):
        values[1600:1607] = values[100:107]
        values[1990] = values[3]
    lists = {name: values.tolist() for name, values in columns.items()}
    found = warnings_of(tmp_path, lists, more="split: {by: column, column: part}\n")
    assert found == (
        "7 of 250 rows of the validation split are in the train split too, every feature and the label alike",
        "1 of 250 rows of the test split are in the train split too, every feature and the label alike",
    )


def test_rows_of_few_categories_may_be_alike(tmp_path: Path) -> None:
    columns = honest_rows() | {"x": np.arange(ROWS) % 3, "y": np.arange(ROWS) % 2}
    assert warnings_of(tmp_path, columns) == ()


def test_unlabelled_rows_that_would_bring_the_future_into_training_are_counted(tmp_path: Path) -> None:
    columns = honest_rows()
    label: list[int | None] = columns["label"].tolist()
    label[-10:] = [None] * 10
    columns |= {"label": label, "day": np.arange(ROWS)}
    more = "unlabelled: keep\nsplit: {by: time, column: day}\n"
    assert warnings_of(tmp_path, columns, more=more) == (
        "10 rows without a label fall outside of the train split and are left out",
    )
