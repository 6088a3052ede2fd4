"""docs/bundle-format.md names every field there is, and its program runs."""

import re
from pathlib import Path

import pytest

from elastier_contract.bundle import Bundle
from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_contract.layout import ALIGNMENT_BYTES, session_config
from elastier_contract.machine import Machine
from elastier_contract.manifest import SCHEMA_VERSION, FileDigest, Manifest, Provenance, WeightRange
from elastier_contract.model import FrozenModel
from elastier_contract.profile import LatencyPoint, LatencyProfile
from elastier_contract.signature import Signature, TensorSpec
from elastier_contract.tier import Quality, Tier
from support.processes import run_to_end

DOCUMENT = (Path(__file__).parents[2] / "docs" / "bundle-format.md").read_text()
MODELS = (
    CategoricalColumn,
    FeatureSchema,
    FileDigest,
    LatencyPoint,
    LatencyProfile,
    Machine,
    Manifest,
    NumericColumn,
    Provenance,
    Quality,
    Signature,
    TensorSpec,
    Tier,
    WeightRange,
)


@pytest.mark.parametrize("model", MODELS)
def test_every_field_has_its_place(model: type[FrozenModel]) -> None:
    tables = "\n".join(line for line in DOCUMENT.splitlines() if line.startswith(("|", "### ")))
    named = {name for code in re.findall(r"`([^`]+)`", tables) for name in re.findall(r"\w+", code)}
    assert set(model.model_fields) <= named


def test_no_model_is_forgotten() -> None:
    ours = {
        model for model in FrozenModel.__subclasses__() if model.__module__.startswith("elastier_contract.")
    }
    assert ours == set(MODELS)


def test_the_fixed_numbers_and_entries_are_those_of_the_code(tmp_path: Path) -> None:
    assert f"version {SCHEMA_VERSION}\n" in DOCUMENT
    assert f"{ALIGNMENT_BYTES:,} bytes" in DOCUMENT
    assert all(f"| `{entry}` |" in DOCUMENT for entry in session_config("a", tmp_path))


def test_the_program_runs_on_a_bundle(tiny_bundle: Bundle) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    finished = run_to_end(["-c", program.replace("build/demo/bundle", str(tiny_bundle.path))])
    assert (finished.stdout, finished.stderr) == ("(3, 1)\n", "")
