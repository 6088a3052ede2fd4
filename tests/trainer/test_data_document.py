"""What docs/data.md says is what happens."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from elastier_trainer.data.schema import DataSchema, LabelKind, read_schema

DOCUMENT = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


def test_the_example_prints_what_the_document_shows(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text("\n".join(blocks("python")))
    shown = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout == blocks("text")[0]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_schema_in_the_document_is_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "schema.yaml").write_text(text)
    read_schema(tmp_path / "schema.yaml")


def test_every_key_and_every_kind_has_its_row() -> None:
    keys = set(re.findall(r"^\| `(\w+)` ", DOCUMENT, flags=re.MULTILINE))
    assert set(DataSchema.model_fields) <= keys
    assert set(LabelKind.__args__) <= keys  # type: ignore[attr-defined]
    ways = set(re.findall(r"^\| `\{by: (\w+)", DOCUMENT, flags=re.MULTILINE))
    assert ways == {"random", "time", "group", "column"}
