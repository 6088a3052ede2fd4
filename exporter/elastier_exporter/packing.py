"""Packed weights in the weights file, so that ONNX Runtime maps them in place of making its own (layout D).

ONNX Runtime packs each tier by itself and says what came out; nothing is believed of its format. When a session is
opened it packs again, compares the result with the bytes in the file, and maps those if they are the same.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from elastier_contract.layout import WEIGHTS_FILE, packing_config
from elastier_exporter.errors import GraphError
from elastier_exporter.session import session_options
from elastier_exporter.weights import Bytes, WeightsFile

_GRAPH, _BLOB = "packed.onnx", "packed.bin"
_PACKED = "prepacked_"


def pack(folder: Path, plain: str, graph: str, tier: str, file: WeightsFile) -> None:
    """Write a tier's graph as ONNX Runtime optimizes it, with packed weights, which are placed in `file`.

    Args:
        folder: The bundle that is being made.
        plain: Path of the tier's graph in it, its weights in the bundle's weights file.
        graph: Path of what is to be written.
        tier: The tier's name.
        file: The bundle's weights file.

    Raises:
        GraphError: ONNX Runtime refuses the graph, or says something unknown about its packed weights.
    """
    file.flush()
    with tempfile.TemporaryDirectory(prefix=".packing-", dir=folder) as scratch:
        model, blob = _optimized(folder, folder / plain, tier, Path(scratch))
        for initializer in model.graph.initializer:
            if initializer.data_location == onnx.TensorProto.EXTERNAL:
                _move(initializer, blob, tier, file)
    _forget_unused_domains(model)
    (folder / graph).write_bytes(model.SerializeToString())


def _optimized(folder: Path, graph: Path, tier: str, scratch: Path) -> tuple[onnx.ModelProto, Bytes]:
    options = session_options(folder, "d", threads=1)
    options.optimized_model_filepath = str(scratch / _GRAPH)
    for key, value in packing_config(_BLOB).items():
        options.add_session_config_entry(key, value)
    try:
        ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base but this
        raise GraphError(f"tier {tier!r}: ONNX Runtime refuses its graph: {error}") from error
    blob = scratch / _BLOB
    content = np.fromfile(blob, dtype=np.uint8) if blob.exists() else np.empty(0, np.uint8)
    return onnx.load(scratch / _GRAPH, load_external_data=False), content


def _forget_unused_domains(model: onnx.ModelProto) -> None:
    """ONNX Runtime names all operator sets that it has."""
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _move(initializer: onnx.TensorProto, blob: Bytes, tier: str, file: WeightsFile) -> None:
    """Point an initializer at the bundle's weights file."""
    entries = {entry.key: entry.value for entry in initializer.external_data}
    offset, length = int(entries["offset"]), int(entries["length"])
    place = file.place(tier, initializer.name, "raw", blob[offset : offset + length])
    moved = {"location": WEIGHTS_FILE, "offset": str(place), "length": str(length)}
    for key, value in entries.items():
        if key.startswith(_PACKED):
            moved[key] = _moved_pack(initializer.name, value, blob, tier, file)
    del initializer.external_data[:]
    for key, value in moved.items():
        initializer.external_data.add(key=key, value=value)


def _moved_pack(name: str, told: str, blob: Bytes, tier: str, file: WeightsFile) -> str:
    """`<key>|<offset>;<length>;<flag>|...` with offsets in the weights file."""
    key, *pieces = told.split("|")
    moved = [key]
    for index, piece in enumerate(pieces):
        try:
            offset, length, *rest = (int(number) for number in piece.split(";"))
        except ValueError as error:
            raise GraphError(f"expected `offset;length;flag` of packed weights, got {piece!r}") from error
        content = blob[offset : offset + length]
        if len(content) != length:
            raise GraphError(f"expected {length} bytes of packed weights of {name!r}, got {len(content)}")
        place = file.place(tier, name if index == 0 else f"{name}:{index}", "packed", content)
        moved.append(";".join(map(str, (place, length, *rest))))
    return "|".join(moved)
