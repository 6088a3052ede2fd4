"""A bundle's latency profile, measured anew on the machine that is here. Needs no torch."""

import onnxruntime as ort

from elastier_contract.bundle import Bundle, open_bundle, reseal_bundle
from elastier_contract.machine import describe_machine
from elastier_contract.profile import LatencyProfile, measure_profile
from elastier_contract.progress import Progress, no_progress
from elastier_exporter.measuring import Measuring
from elastier_exporter.session import open_session, runner


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
    return measure_profile(
        runner(sessions, manifest.signature),
        [tier.name for tier in manifest.tiers],
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
