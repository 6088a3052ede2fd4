"""One process of `elastier_exporter.bench`: an order on standard input, answers on standard output, line by line."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from elastier_contract.signature import Signature
from elastier_exporter.session import open_session

SMAPS = Path("/proc/self/smaps_rollup")


def pss_bytes() -> int:
    """This process's share of the memory it uses.

    Raises:
        OSError: A system without `smaps_rollup`, which only Linux has.
    """
    for line in SMAPS.read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"expected a line `Pss:` in {SMAPS}")


def open_all(order: dict[str, Any]) -> dict[str, ort.InferenceSession]:
    """Sessions of the ordered graphs."""
    folder = Path(order["folder"])
    return {
        name: open_session(folder, str(Path(graph).relative_to(folder)), order["layout"], order["threads"])
        for name, graph in order["graphs"].items()
    }


def measure_memory(order: dict[str, Any]) -> None:
    """Open and run all ordered tiers; memory over what the process had before, and seconds a tier."""
    inputs = Signature.model_validate(order["signature"], strict=False).sample_inputs(
        8, np.random.default_rng(0)
    )
    base = pss_bytes()
    start = time.perf_counter()
    sessions = open_all(order)
    load_s = (time.perf_counter() - start) / len(sessions)
    for session in sessions.values():
        session.run(None, inputs)
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    answer = {"pss_bytes": float(pss_bytes() - base), "load_s": load_s}
    print(json.dumps(answer), flush=True)
    sys.stdin.read()  # the sessions live until the others were asked too


def measure_latency(order: dict[str, Any]) -> None:
    """Time each tier shared and by itself, in turn, at every number of rows."""
    shared, separate = open_all(order["shared"]), open_all(order["separate"])
    signature = Signature.model_validate(order["shared"]["signature"], strict=False)
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    found = []
    for rows in order["rows"]:
        inputs = signature.sample_inputs(rows, np.random.default_rng(rows))
        for name in shared:
            times: dict[str, list[float]] = {"shared": [], "separate": []}
            both = {"shared": shared[name], "separate": separate[name]}
            same = all(
                np.array_equal(left, right, equal_nan=True)
                for left, right in zip(
                    both["shared"].run(None, inputs), both["separate"].run(None, inputs), strict=True
                )
            )
            for run in range(order["runs"]):
                for kind in ("shared", "separate") if run % 2 else ("separate", "shared"):
                    start = time.perf_counter()
                    both[kind].run(None, inputs)
                    times[kind].append((time.perf_counter() - start) * 1e3)
            medians = {kind: float(np.median(values)) for kind, values in times.items()}
            found.append(
                {
                    "tier": name,
                    "rows": rows,
                    "shared_p50_ms": medians["shared"],
                    "separate_p50_ms": medians["separate"],
                    "ratio": round(medians["shared"] / medians["separate"], 4),
                    "same_bits": same,
                }
            )
    print(json.dumps({"latency": found}), flush=True)


def main() -> None:
    """Do what the first line of standard input says."""
    order = json.loads(sys.stdin.readline())
    try:
        if "latency" in order:
            measure_latency(order["latency"])
        else:
            measure_memory(order)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
