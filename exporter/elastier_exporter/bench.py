"""What sharing is worth: memory and load time of a bundle's tiers, together and as separate files, and their latency.

Every measurement is a fresh process. Memory is PSS (proportional set size, Linux `smaps_rollup`) over that of the same
process before any tier was opened: pages that several sessions map count once, those that several processes map are
split among them. RSS would count mapped pages again for every session. Needs no torch.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median_high
from typing import Any

from elastier_contract.bundle import Bundle
from elastier_contract.errors import BundleError
from elastier_contract.progress import Progress, counted, no_progress
from elastier_exporter.unpack import write_alone

ROWS = (1, 32, 200)
PROCESSES = 4
_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Which sessions a process opens."""

    kind: str
    """`shared`: tiers of the bundle; `separate`: files by themselves."""
    tiers: tuple[str, ...]


def bench_bundle(
    bundle: Bundle, *, runs: int = 200, threads: int = 1, repeats: int = 3, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure a bundle.

    Args:
        bundle: An opened bundle.
        runs: Timed runs of each tier and number of rows, shared and separate in turn.
        threads: Threads of one run.
        repeats: Fresh processes for every memory figure; the median counts.
        progress: Told after every process.

    Returns:
        Sizes in bytes over the process before, ratios, and under `latency` every tier at every number of rows.

    Raises:
        BundleError: A process cannot open a tier, or says nothing in time.
    """
    names = tuple(tier.name for tier in bundle.manifest.tiers)
    jobs = {
        "largest": _Job(kind="shared", tiers=names[-1:]),
        "shared": _Job(kind="shared", tiers=names),
        "separate": _Job(kind="separate", tiers=names),
    }
    told = counted(progress, "bench", len(jobs) * repeats + repeats + 1)
    with tempfile.TemporaryDirectory(prefix="elastier-bench-") as scratch:
        for tier in bundle.manifest.tiers:
            write_alone(bundle, tier, Path(scratch) / f"{tier.name}.onnx")
        found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
        together: list[float] = []
        for _ in range(repeats):  # in turn, so that drift of the machine hits all alike
            for name, job in jobs.items():
                found[name] += _measure(bundle, Path(scratch), job, threads, processes=1)
                told(name)
            several = _measure(bundle, Path(scratch), jobs["shared"], threads, processes=PROCESSES)
            together.append(sum(one["pss_bytes"] for one in several))
            told(f"{PROCESSES} processes")
        latency = _latencies(bundle, Path(scratch), threads, runs)
        told("latency")
    memory = {name: _medians(rows) for name, rows in found.items()}
    shared = memory["shared"]["pss_bytes"]
    return {
        "tiers": [tier.name for tier in bundle.manifest.tiers],
        **{f"pss_{name}_bytes": row["pss_bytes"] for name, row in memory.items()},
        "pss_ratio": _ratio(shared, memory["largest"]["pss_bytes"]),
        "processes": PROCESSES,
        "pss_processes_bytes": median_high(together),
        "pss_processes_ratio": _ratio(median_high(together), shared),
        "load_seconds_per_tier": memory["shared"]["load_s"],
        "load_seconds_per_separate_tier": memory["separate"]["load_s"],
        **_latency_ratios(latency),
        **_speedup(bundle, latency),
        **_weights(bundle),
        "latency": latency,
        "machine": bundle.profile.machine.model_dump(),
        "runs": runs,
        "threads": threads,
        "repeats": repeats,
    }


def _weights(bundle: Bundle) -> dict[str, Any]:
    """Size of the weights file against the TA's raw weights, of the largest graph, and what slicing took."""
    manifest = bundle.manifest
    ta = manifest.tiers[-1]
    file_bytes = bundle.weights_path.stat().st_size
    return {
        "weights_bytes": file_bytes,
        "weights_ratio": _ratio(file_bytes, ta.parameters * 4),
        "graph_bytes_max": max(
            (bundle.path / path).stat().st_size for tier in manifest.tiers for path in tier.graphs
        ),
        "slice_seconds_per_tier": manifest.provenance.slice_seconds_per_tier,
    }


def _speedup(bundle: Bundle, latency: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many times faster the smallest tier is than the largest, by rows, and the ratio of their operations."""
    small, large = bundle.manifest.tiers[0], bundle.manifest.tiers[-1]
    times = {(row["tier"], row["rows"]): row["shared_p50_ms"] for row in latency}
    return {
        "speedup_smallest": {
            str(rows): _ratio(times[large.name, rows], times[small.name, rows]) for rows in ROWS
        },
        "flop_ratio_smallest": _ratio(large.flops_per_row, small.flops_per_row),
    }


def _measure(
    bundle: Bundle, scratch: Path, job: _Job, threads: int, *, processes: int
) -> list[dict[str, float]]:
    """PSS over the base and load time of processes that hold their sessions at the same time."""
    order = _order(bundle, scratch, job, threads)
    with ExitStack() as stack:
        started = [stack.enter_context(_process(order)) for _ in range(processes)]
        for process in started:  # loaded, all of them, before any is asked for its memory
            _read(process)
        return [_ask(process, "memory") for process in started]


def _latencies(bundle: Bundle, scratch: Path, threads: int, runs: int) -> list[dict[str, Any]]:
    names = tuple(tier.name for tier in bundle.manifest.tiers)
    order = {
        "shared": _order(bundle, scratch, _Job(kind="shared", tiers=names), threads),
        "separate": _order(bundle, scratch, _Job(kind="separate", tiers=names), threads),
        "rows": ROWS,
        "runs": runs,
    }
    with _process({"latency": order}) as process:
        _read(process)
        found: list[dict[str, Any]] = _ask(process, "latency")["latency"]
        return found


def _order(bundle: Bundle, scratch: Path, job: _Job, threads: int) -> dict[str, Any]:
    manifest = bundle.manifest
    graphs = {tier.name: bundle.path / tier.graph for tier in manifest.tiers}
    if job.kind == "separate":
        graphs = {name: scratch / f"{name}.onnx" for name in graphs}
    return {
        "graphs": {name: str(graphs[name]) for name in job.tiers},
        "folder": str(bundle.path if job.kind == "shared" else scratch),
        "layout": manifest.layout if job.kind == "shared" else "d",
        "threads": threads,
        "signature": manifest.signature.model_dump(mode="json"),
    }


@contextmanager
def _process(order: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "elastier_exporter.bench_process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            _write(process, order)
            yield process
        finally:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            try:
                process.wait(_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _write(process: subprocess.Popen[str], document: Any) -> None:
    if process.stdin is None:
        raise RuntimeError("expected a process with an open standard input")
    process.stdin.write(json.dumps(document) + "\n")
    process.stdin.flush()


def _read(process: subprocess.Popen[str]) -> Any:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise BundleError(f"expected a measurement, the process ended with status {process.wait(_TIMEOUT_S)}")
    answer = json.loads(line)
    if "error" in answer:
        raise BundleError(answer["error"])
    return answer


def _ask(process: subprocess.Popen[str], question: str) -> Any:
    _write(process, question)
    return _read(process)


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: median_high([row[key] for row in rows]) for key in rows[0]}


def _ratio(value: float, base: float) -> float | None:
    return round(value / base, 4) if base > 0 else None


def _latency_ratios(latency: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Ratio of a shared tier's latency to its own file's: by rows the median over tiers, and the worst of all."""
    return {
        "latency_ratio": {
            str(rows): median_high([row["ratio"] for row in latency if row["rows"] == rows]) for rows in ROWS
        },
        "latency_ratio_worst": max(row["ratio"] for row in latency),
    }
