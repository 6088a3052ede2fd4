"""The engine on real graphs: the same answers whoever shares the batch, and no graph that is not the bundle's."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from elastier_contract.bundle import Bundle
from elastier_contract.errors import BundleCorruptError
from elastier_contract.machine import describe_machine
from elastier_server.engine.ort import open_engine
from elastier_server.engine.warming import warm
from support.tiny import write_tiny_bundle


def test_every_tier_answers_and_wider_ones_differ(tiny_bundle: Bundle) -> None:
    engine = open_engine(tiny_bundle, threads=1)
    inputs = tiny_bundle.manifest.signature.sample_inputs(5, np.random.default_rng(0))
    logits = [engine.run(tier, inputs)["logits"] for tier in range(3)]
    assert [values.shape for values in logits] == [(5, 1)] * 3
    assert not np.allclose(logits[0], logits[2])


def test_a_row_gets_the_same_answer_alone_and_in_company(tiny_bundle: Bundle) -> None:
    engine = open_engine(tiny_bundle, threads=1)
    inputs = tiny_bundle.manifest.signature.sample_inputs(64, np.random.default_rng(0))
    together = engine.run(2, inputs)["logits"]
    alone = [
        engine.run(2, {name: x[row : row + 1] for name, x in inputs.items()})["logits"] for row in range(64)
    ]
    np.testing.assert_allclose(np.concatenate(alone), together, rtol=1e-5, atol=1e-6)


def test_a_graph_that_is_no_graph_is_refused_by_name(tiny_bundle: Bundle) -> None:
    (tiny_bundle.path / "tiers/w16.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleCorruptError, match=r"tiers/w16\.onnx: ONNX Runtime refuses it"):
        open_engine(tiny_bundle, threads=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("location", "../outside.bin"),
        ("location", "/etc/passwd"),
        ("offset", "999999"),
        ("length", "4096000"),
    ],
)
def test_weights_outside_the_folder_or_the_file_are_refused_by_the_runtime(
    tiny_bundle: Bundle, tmp_path: Path, key: str, value: str
) -> None:
    (tmp_path / "outside.bin").write_bytes(tiny_bundle.weights_path.read_bytes())
    path = tiny_bundle.path / "tiers/w64.onnx"
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == key:
                entry.value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleCorruptError, match=r"tiers/w64\.onnx"):
        open_engine(tiny_bundle, threads=1)


def test_a_graph_with_other_tensors_than_the_signature_is_refused(tiny_bundle: Bundle) -> None:
    path = tiny_bundle.path / "tiers/w4.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.output[0].name = "scores"
    model.graph.node[-1].output[0] = "scores"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleCorruptError, match=r"expected outputs \['logits'\], found \['scores'\]"):
        open_engine(tiny_bundle, threads=1)


def test_a_profile_of_another_machine_is_measured_anew_and_never_means_never(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle")
    engine = open_engine(bundle, threads=1)
    measured = warm(engine, bundle, threads=1, reprofile="auto")
    assert measured.machine == describe_machine(ort.__version__)
    assert measured.tiers.keys() == bundle.profile.tiers.keys()
    assert warm(engine, bundle, threads=1, reprofile="never") == bundle.profile
