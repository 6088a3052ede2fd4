"""A tiny bundle that needs no training, yet runs for real in ONNX Runtime."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from elastier_contract.bundle import Bundle, new_bundle, open_bundle, seal
from elastier_contract.features import CategoricalColumn, FeatureSchema, NumericColumn
from elastier_contract.layout import ALIGNMENT_BYTES, WEIGHTS_FILE
from elastier_contract.machine import Machine
from elastier_contract.manifest import Provenance
from elastier_contract.profile import LatencyPoint, LatencyProfile
from elastier_contract.signature import Signature, TensorSpec
from elastier_contract.tier import Quality, Tier

TINY_DIM = 8
TINY_WIDTHS = (4, 16, 64)
TINY_AUC = (0.70, 0.75, 0.80)

TINY_FEATURES = FeatureSchema(
    categorical=(
        CategoricalColumn(name="carrier", values=("AA", "B6", "UA")),
        CategoricalColumn(name="hour", values=tuple(str(hour) for hour in range(5, 24))),
    ),
    numeric=(
        NumericColumn(name="distance", mean=1000.0, std=700.0),
        NumericColumn(name="wind_speed", mean=10.0, std=5.0),
        NumericColumn(name="temperature", mean=57.0, std=18.0),
    ),
)


class TinyWeights:
    """Random weights of a one-block ranker, laid out as layout A has them: one file, page-aligned."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        width, ids = TINY_WIDTHS[-1], sum(column.size for column in TINY_FEATURES.categorical)
        self.arrays: dict[str, NDArray[np.float32]] = {
            name: (rng.standard_normal(shape) / 3).astype(np.float32)
            for name, shape in (
                ("embedding", (ids, TINY_DIM)),
                ("numeric", (3, TINY_DIM)),
                ("up", (width, TINY_DIM)),
                ("up_bias", (width,)),
                ("down", (width, TINY_DIM)),
                ("head", (TINY_DIM, 1)),
            )
        }
        self.offsets: dict[str, int] = {}
        self.content = b""
        for name, array in self.arrays.items():
            self.content += b"\0" * (-len(self.content) % ALIGNMENT_BYTES)
            self.offsets[name] = len(self.content)
            self.content += array.tobytes()

    def external(self, name: str, width: int | None = None) -> TensorProto:
        """An initializer that points at the first `width` rows of a weight in the shared file."""
        array = self.arrays[name][:width]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
        tensor.dims.extend(array.shape)
        where = {"location": WEIGHTS_FILE, "offset": str(self.offsets[name]), "length": str(array.nbytes)}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=value)
        return tensor


def tiny_graph(weights: TinyWeights, width: int) -> bytes:
    """The ONNX graph of one tiny tier: embeddings + numeric → residual feed-forward → logit."""
    offsets = np.cumsum([0, *(column.size for column in TINY_FEATURES.categorical)])[:-1].astype(np.int64)
    initializers = [
        onnx.numpy_helper.from_array(offsets, "offsets"),
        onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"),
        *(weights.external(name) for name in ("embedding", "numeric", "head")),
        *(weights.external(name, width) for name in ("up", "up_bias", "down")),
    ]
    nodes = [
        helper.make_node("Add", ["categorical", "offsets"], ["ids"]),
        helper.make_node("Gather", ["embedding", "ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["summed"], keepdims=0),
        helper.make_node("MatMul", ["numeric_in", "numeric"], ["projected"]),
        helper.make_node("Add", ["summed", "projected"], ["x"]),
        helper.make_node("Gemm", ["x", "up", "up_bias"], ["hidden"], transB=1),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["y"]),
        helper.make_node("Add", ["x", "y"], ["out"]),
        helper.make_node("MatMul", ["out", "head"], ["logits"]),
    ]
    for node in nodes:  # the graph input is called like the schema's tensor, the weight is another
        node.input[:] = [
            "numeric" if name == "numeric_in" else f"w.{name}" if name == "numeric" else name
            for name in node.input
        ]
    for tensor in initializers:
        if tensor.name == "numeric":
            tensor.name = "w.numeric"
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("categorical", TensorProto.INT64, ["rows", 2]),
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["rows", 3]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 1])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def write_tiny_bundle(path: Path, *, version: str = "1", seed: int = 0) -> Bundle:
    """Write a bundle of three tiers, w4, w16 and w64, that runs for real in ONNX Runtime."""
    weights = TinyWeights(seed)
    with new_bundle(path) as folder:
        (folder / WEIGHTS_FILE).write_bytes(weights.content)
        (folder / "tiers").mkdir()
        for width in TINY_WIDTHS:
            (folder / f"tiers/w{width}.onnx").write_bytes(tiny_graph(weights, width))
        seal(
            folder,
            tiny_profile(),
            name="tiny",
            version=version,
            created_at=datetime.now(UTC),
            layout="a",
            task="binary",
            signature=Signature(
                inputs=TINY_FEATURES.tensor_specs(),
                outputs=(TensorSpec(name="logits", datatype="FP32", shape=(-1, 1)),),
            ),
            features=TINY_FEATURES,
            tiers=tuple(_tiny_tier(width, auc) for width, auc in zip(TINY_WIDTHS, TINY_AUC, strict=True)),
            provenance=Provenance(
                command="pytest", seed=seed, data_sha256="0" * 64, versions={"onnx": onnx.__version__}
            ),
        )
    return open_bundle(path)


def _tiny_tier(width: int, auc: float) -> Tier:
    return Tier(
        name=f"w{width}",
        widths=(width,),
        layers=(0,),
        parameters=400 + 17 * width,
        flops_per_row=100 + 32 * width,
        graph=f"tiers/w{width}.onnx",
        quality=Quality(
            metric="auc",
            value=auc,
            low=auc - 0.01,
            high=auc + 0.01,
            chance=0.5,
            rows=1000,
            split="validation",
        ),
    )


def tiny_profile() -> LatencyProfile:
    """An invented profile: w4 takes 1 ms, w16 2 ms, w64 4 ms at one row, and 0.01 ms a row more."""
    return LatencyProfile(
        machine=Machine(processor="invented", cores=2, system="Linux", onnxruntime="1.32.0"),
        threads=1,
        runs=1,
        tiers={
            f"w{width}": tuple(
                LatencyPoint(
                    rows=rows, p50_ms=base + 0.01 * rows, p95_ms=base + 0.01 * rows, p99_ms=base + 0.01 * rows
                )
                for rows in (1, 16, 256, 1024)
            )
            for width, base in zip(TINY_WIDTHS, (1.0, 2.0, 4.0), strict=True)
        },
    )
