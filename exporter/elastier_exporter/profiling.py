"""Latency profiles: of tiers while a bundle is made, and of a bundle on the machine that is here. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnxruntime as ort

from elastier_contract.bundle import Bundle, open_bundle, reseal_bundle
from elastier_contract.machine import describe_machine
from elastier_contract.profile import LatencyProfile, measure_profile
from elastier_contract.progress import Progress, no_progress
from elastier_contract.signature import Signature
from elastier_exporter.session import open_session, runner


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How tiers are timed."""

    threads: int = 1
    """Threads of one run."""
    runs: int = 30
    """Timed runs per tier and batch size."""


def profile_bundle(bundle: Bundle, measuring: Measuring, progress: Progress = no_progress) -> LatencyProfile:
    """Time every tier of an opened bundle at every batch size; nothing is written.

    Args:
        bundle: An opened bundle.
        measuring: How tiers are timed.
        progress: Told after every round.
    """
    manifest = bundle.manifest
    sessions = {
        tier.name: open_session(bundle.path, tier.graph, manifest.layout, measuring.threads)
        for tier in manifest.tiers
    }
    return time_tiers(sessions, manifest.signature, measuring, progress)


def time_tiers(
    sessions: Mapping[str, ort.InferenceSession],
    signature: Signature,
    measuring: Measuring,
    progress: Progress = no_progress,
) -> LatencyProfile:
    """Time opened tiers, from the cheapest to the costliest, at every batch size."""
    return measure_profile(
        runner(sessions, signature),
        tuple(sessions),
        machine=describe_machine(ort.__version__),
        threads=measuring.threads,
        runs=measuring.runs,
        progress=progress,
    )


def replace_profile(bundle: Bundle, profile: LatencyProfile) -> Bundle:
    """Put a profile in the place of a bundle's own, all or nothing.

    Raises:
        BundleError: The profile is of other tiers.
    """
    reseal_bundle(bundle.path, profile)
    return open_bundle(bundle.path)
