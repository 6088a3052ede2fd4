"""Bundles of wide tiers, and what can be wrong with one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from elastier_contract.bundle import MANIFEST_FILE, Bundle, digest_file, digest_manifest
from elastier_contract.features import NUMERIC, FeatureSchema, NumericColumn
from elastier_contract.layout import Layout
from elastier_exporter.own import export_model
from elastier_exporter.profiling import Measuring
from elastier_exporter.slicing import TierSlicer
from elastier_trainer.models.ranker import Ranker
from elastier_trainer.submodel import Ladder, Submodel
from elastier_trainer.task import BinaryTask


def spoiled_slice(weight: str, *, row: int) -> Callable[[TierSlicer, Submodel], ir.Model]:
    """`TierSlicer.slice`, but the first number of that row of a weight is off by 1, in tiers that have the row."""
    whole = TierSlicer.slice

    def spoiled(slicer: TierSlicer, submodel: Submodel) -> ir.Model:
        model = whole(slicer, submodel)
        value = model.graph.initializers[weight]
        assert value.const_value is not None
        changed = np.array(value.const_value.numpy())
        if row < len(changed):
            changed[row, 0] += 1.0
        value.const_value = ir.tensor(changed, name=weight)
        return model

    return spoiled


def redigest(bundle: Path) -> None:
    """Let the manifest agree with itself, and with what was done to the other files."""
    path = bundle / MANIFEST_FILE
    document = json.loads(path.read_bytes())
    document["files"] = {name: digest_file(bundle / name).model_dump() for name in document["files"]}
    path.write_text(json.dumps(document | {"sha256": digest_manifest(document)}))


def write_wide_bundle(out: Path, *, layout: Layout = "d") -> tuple[Ranker, Bundle]:
    """Untrained tiers wide enough for packed weights to be prefixes: w32, w256 and w1024, in two blocks."""
    torch.manual_seed(0)
    features = FeatureSchema(numeric=tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0) for i in range(4)))
    model = Ranker(features, model_dim=32, hidden=(1024, 1024)).eval()
    students = {
        f"w{width}": Submodel(widths=(width, width), layers=(0, 1), model_dim=32) for width in (32, 256, 1024)
    }
    rows, labels = torch.randn(64, 4), torch.arange(64).remainder(2).float()
    bundle = export_model(
        model,
        Ladder(students=students),
        out,
        inputs={NUMERIC: rows},
        labels_R=labels,
        task=BinaryTask(),
        name="wide",
        layout=layout,
        measuring=Measuring(runs=1),
    )
    return model, bundle
