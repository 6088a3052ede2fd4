"""Before the first request: every tier run at every size, and measured anew on a machine the profile is not of."""

import logging
from typing import Literal

import numpy as np
import onnxruntime as ort

from elastier_contract.bundle import Bundle
from elastier_contract.machine import describe_machine
from elastier_contract.profile import LatencyProfile, measure_profile
from elastier_server.engine.engine import Engine

log = logging.getLogger(__name__)

Reprofile = Literal["auto", "always", "never"]

_RUNS = 20


def warm(engine: Engine, bundle: Bundle, *, threads: int, reprofile: Reprofile) -> LatencyProfile:
    """Run every tier at every profiled batch size, and give the profile that holds here.

    Args:
        engine: The engine of the bundle's tiers.
        bundle: The bundle.
        threads: Threads of one run.
        reprofile: `auto` measures anew if the bundle's profile is of another machine or other threads.
    """
    manifest, profile = bundle.manifest, bundle.profile
    machine = describe_machine(ort.__version__)
    same = profile.machine == machine and profile.threads == threads
    names = [tier.name for tier in manifest.tiers]
    sizes = sorted({point.rows for points in profile.tiers.values() for point in points})
    rng = np.random.default_rng(0)
    inputs = {rows: manifest.signature.sample_inputs(rows, rng) for rows in sizes}

    def run(tier: str, rows: int) -> None:
        engine.run(names.index(tier), inputs[rows])

    if reprofile == "always" or (reprofile == "auto" and not same):
        log.info("measuring %s anew: its profile is of %s", manifest.name, profile.machine.processor)
        return measure_profile(run, names, machine=machine, threads=threads, runs=_RUNS, batch_rows=sizes)
    for rows in sizes:
        for name in names:
            run(name, rows)
    return profile
