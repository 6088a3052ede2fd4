"""A training run that takes a second: data with a rule to learn, logits that know it, a small ladder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from elastier_trainer.config_file import yaml_text
from elastier_trainer.data.load import load_dataset
from elastier_trainer.teachers.logits import write_logits

SMALL_LADDER = (2, 4, 8, 16)


def write_small_run(folder: Path, *, rows: int = 1000, **changes: Any) -> Path:
    """Write data, schema, logits and config, with `changes` on top of its keys; returns the config's path."""
    rng = np.random.default_rng(0)
    group, x_R2 = rng.integers(0, 10, rows), rng.normal(size=(rows, 2))
    truth = np.sin(2 * x_R2[:, 0]) * 2 + group / 5 - 1 + x_R2[:, 1]
    label = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(int)
    columns = {
        "id": np.arange(rows) + 7000,
        "label": label,
        "group": group,
        "x": x_R2[:, 0],
        "y": x_R2[:, 1],
    }
    pq.write_table(pa.table(columns), folder / "data.parquet")
    (folder / "schema.yaml").write_text("label: label\nrow_id: id\ncategorical: [group]\nnumeric: [x, y]\n")
    dataset = load_dataset(folder / "data.parquet", folder / "schema.yaml")
    logits_R = torch.from_numpy(truth).float()
    write_logits(
        folder / "teacher.parquet",
        dataset.row_ids_R,
        logits_R,
        teacher="truth",
        data_sha256=dataset.sha256,
    )
    document: dict[str, Any] = {
        "data": "data.parquet",
        "schema": "schema.yaml",
        "teacher": "teacher.parquet",
        "labelled_fraction": 0.2,
        "ladder": list(SMALL_LADDER),
        "model": {"model_dim": 8, "hidden": SMALL_LADDER[-1], "own_norms": True},
        "steps": 24,
        "labelled_rows": 32,
        "unlabelled_rows": 96,
        "eval_every": 8,
        "checkpoint_every": 5,
        "threads": 1,
    }
    (folder / "config.yaml").write_text(yaml_text(document | changes))
    return folder / "config.yaml"


def read_metrics(run: Path) -> list[Mapping[str, Any]]:
    """The lines of a run's metrics.jsonl; fails on a torn one."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
