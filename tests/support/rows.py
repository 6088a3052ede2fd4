"""Small data files with columns of choice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

SCHEMA = "label: late\nrow_id: id\ncategorical: [carrier, hour]\nnumeric: [distance, wind]\n"
"""Fits `some_rows`; its `traffic` and `gate` are free for a teacher."""


def some_rows(rows: int = 200, seed: int = 0) -> dict[str, Any]:
    """Columns of rows whose label depends on some of them."""
    rng = np.random.default_rng(seed)
    wind, traffic = rng.normal(10, 5, rows), rng.normal(0, 1, rows)
    hour = rng.integers(5, 24, rows)
    chance = 1 / (1 + np.exp(-(wind - 10) / 5 - traffic - (hour - 14) / 9))
    return {
        "id": np.arange(rows) * 3 + 10,
        "late": (rng.random(rows) < chance).astype(np.int8),
        "carrier": [str(name) for name in rng.choice(["AA", "B6", "UA", "01"], rows)],
        "hour": hour,
        "distance": rng.integers(100, 3000, rows),
        "wind": wind,
        "traffic": traffic,
        "gate": [str(name) for name in rng.choice(["A1", "B2"], rows)],
    }


def write_rows(
    folder: Path, columns: Mapping[str, Sequence[Any]], *, schema: str = SCHEMA, name: str = "rows.parquet"
) -> tuple[Path, Path]:
    """Write columns as `name` (Parquet or CSV) and their schema; returns both paths."""
    table = pa.table({key: pa.array(values) for key, values in columns.items()})
    if name.endswith(".parquet"):
        pq.write_table(table, folder / name)
    else:
        csv.write_csv(table, folder / name)
    (folder / "rows.schema.yaml").write_text(schema)
    return folder / name, folder / "rows.schema.yaml"
