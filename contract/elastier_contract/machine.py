"""What machine this is, as far as latency depends on it."""

import os
import platform
from pathlib import Path

from elastier_contract.model import FrozenModel


class Machine(FrozenModel):
    """The machine that a latency profile was measured on."""

    processor: str
    cores: int
    system: str
    onnxruntime: str


def describe_machine(onnxruntime_version: str) -> Machine:
    """Describe this machine; the caller says which ONNX Runtime it runs."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=platform.system(),
        onnxruntime=onnxruntime_version,
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
