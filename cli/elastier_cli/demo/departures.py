"""Departures that training did not see, as a client holds them: named columns of raw values."""

import json
from pathlib import Path
from typing import Any

from elastier_contract import atomic


class Departures:
    """Rows of the test split, in order."""

    def __init__(self, table: dict[str, list[Any]]) -> None:
        self._table = table

    @classmethod
    def of_test_split(cls, data: Path, schema: Path, columns: tuple[str, ...]) -> "Departures":
        """Read the test rows of a data file; the columns are those that the model takes."""
        import pyarrow.parquet

        from elastier_trainer.data.load import load_dataset

        positions = load_dataset(data, schema).splits["test"].numpy()
        table = pyarrow.parquet.read_table(data, columns=list(columns)).take(positions)
        return cls(table.to_pydict())

    def columns(self, *, start: int, count: int) -> dict[str, list[Any]]:
        """`count` departures from `start` on, column by column."""
        return {name: values[start : start + count] for name, values in self._table.items()}

    def write_predict_body(self, path: Path, *, count: int) -> None:
        """Write the first `count` departures as a body for POST /v1/predict."""
        columns = self.columns(start=0, count=count)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        atomic.write_file(path, json.dumps({"rows": rows}).encode())
