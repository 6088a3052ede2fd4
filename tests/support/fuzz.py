"""Mutated bundles, opened and run in a process that may die of it: `python -m support.fuzz BUNDLE FIRST LAST`.

Prints one line a case, before and after: a crash or a hang is then known by its number.
"""

import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from elastier_contract.bundle import open_bundle
from elastier_contract.errors import BundleError
from elastier_server.engine.ort import open_engine
from support.bundles import redigest

HUGE = (2**31 - 1, 2**40, 2**62, -1, 0)


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def grow(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.randbytes(rng.choice((1, 8, 4096))) + content[at:]


def edit_json(content: bytes, rng: random.Random) -> bytes:
    """Change one value somewhere in a document."""
    document = json.loads(content)
    places = list(_places(document))
    holder, key = rng.choice(places)
    value = holder[key]
    holder[key] = rng.choice(
        [None, -1, 1e308, "", "../x", "x" * 10_000, [], {}, [value], {"": value}, not value, 2**70]
    )
    return json.dumps(document).encode()


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = (
        document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    )
    for key in keys:
        yield document, key
        yield from _places(document[key])


def edit_graph(content: bytes, rng: random.Random) -> bytes:
    """Swap or spoil where initializers lie, their shapes, and what nodes do."""
    model = onnx.load_from_string(content)
    tensors = list(model.graph.initializer)
    tensor, other = rng.choice(tensors), rng.choice(tensors)
    entries = [entry for one in tensors for entry in one.external_data]
    match rng.randrange(6):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(HUGE)
        case 1 if entries:
            rng.choice(entries).value = str(
                rng.choice((*HUGE, 1, 4095, "x", "", "../weights.bin", "/etc/passwd"))
            )
        case 2:
            tensor.name, other.name = other.name, tensor.name
        case 3:
            tensor.data_type = rng.choice((0, 2, 7, 11, 99))
        case 4:
            node = rng.choice(list(model.graph.node))
            node.op_type = rng.choice(("Loop", "Softmax", "NoSuchOperator", "Reshape", "ConstantOfShape"))
        case _:
            node = rng.choice(list(model.graph.node))
            node.input[rng.randrange(len(node.input))] = rng.choice(("", "nothing", node.output[0]))
    changed: bytes = model.SerializeToString()
    return changed


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flip, cut, grow)


def run_case(bundle: Path, seed: int, expected: list[Any]) -> str:
    """Do one case; says how it ended.

    Raises:
        AssertionError: A changed bundle was opened, or an error does not name the file.
    """
    rng = random.Random(seed)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = rng.choice(files)
    special = [edit_json] if path.suffix == ".json" else [edit_graph] if path.suffix == ".onnx" else []
    mutate = rng.choice((*BYTES, *special * 3))
    # What somebody did who can also write digests; otherwise what a disk or a network did.
    resealed = path.suffix != ".json" and rng.random() < 0.4
    with restored(path), restored(bundle / "manifest.json"):
        path.write_bytes(mutate(path.read_bytes(), rng))
        if resealed:
            redigest(bundle)
        try:
            opened = open_bundle(bundle)
            engine = open_engine(opened, threads=1)
        except BundleError as error:
            name = path.relative_to(bundle).as_posix()
            if name in str(error) or resealed:
                return "refused"
            raise AssertionError(f"expected an error that names {name}, got: {error}") from error
        if resealed:
            return "opened"
        inputs = opened.manifest.signature.sample_inputs(3, np.random.default_rng(0))
        for tier, answers in enumerate(expected):
            for name, values in engine.run(tier, inputs).items():
                np.testing.assert_array_equal(values, answers[name])
        return "the same"


@contextmanager
def restored(path: Path) -> Iterator[None]:
    """Put a file's bytes back in the end."""
    content = path.read_bytes()
    try:
        yield
    finally:
        path.write_bytes(content)


def main(bundle: Path, first: int, last: int) -> None:
    opened = open_bundle(bundle)
    engine = open_engine(opened, threads=1)
    inputs = opened.manifest.signature.sample_inputs(3, np.random.default_rng(0))
    expected = [engine.run(tier, inputs) for tier in range(len(opened.manifest.tiers))]
    for seed in range(first, last):
        print("case", seed, flush=True)
        print(run_case(bundle, seed, expected), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
