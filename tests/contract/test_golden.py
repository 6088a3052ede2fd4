"""A bundle of an older format, as it was written then, opens and answers the same today."""

import json
from pathlib import Path

import numpy as np
import pytest

from elastier_contract.bundle import open_bundle
from elastier_server.engine.ort import open_engine
from elastier_server.engine.packed import weights_are_shared

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", ["1.1"])
def test_an_older_bundle_is_read_and_answers_as_it_did(version: str) -> None:
    bundle = open_bundle(GOLDEN / f"bundle-{version}")
    assert bundle.manifest.schema_version == version
    assert bundle.manifest.weights == ()
    assert weights_are_shared(bundle)
    expected = json.loads((GOLDEN / "answers.json").read_text())
    inputs = {
        spec.name: np.array(
            expected["inputs"][spec.name], dtype=np.int64 if spec.datatype == "INT64" else np.float32
        )
        for spec in bundle.manifest.signature.inputs
    }
    engine = open_engine(bundle, threads=1)
    for index, tier in enumerate(bundle.manifest.tiers):
        np.testing.assert_allclose(
            engine.run(index, inputs)["logits"].ravel(), expected["logits"][tier.name], atol=1e-6
        )
