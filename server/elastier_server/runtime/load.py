"""From a checked bundle to a warm model."""

import asyncio
from dataclasses import dataclass

from elastier_contract.bundle import Bundle
from elastier_server.engine.ort import open_engine
from elastier_server.engine.packed import weights_are_shared
from elastier_server.engine.warming import Reprofile, warm
from elastier_server.inference import ServingEvents
from elastier_server.runtime.served_model import ServedModel
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.policies import DEFAULT_POLICY, policy_by_name
from elastier_server.scheduler.scheduler import Scheduler


@dataclass(frozen=True, kw_only=True)
class ServingOptions:
    """How a model is served."""

    threads: int = 1
    """Threads of one run; the engine runs one batch at a time."""
    policy: str = DEFAULT_POLICY
    max_queue_requests: int = 1024
    max_batch_rows: int = 1024
    reprofile: Reprofile = "auto"


async def load_model(bundle: Bundle, *, options: ServingOptions, events: ServingEvents) -> ServedModel:
    """Open a bundle's tiers, warm them, and take requests.

    Raises:
        BundleCorruptError: ONNX Runtime refuses a graph.
        SettingsError: No such policy.
    """
    manifest = bundle.manifest
    tiers = [tier.name for tier in manifest.tiers]
    policy = policy_by_name(options.policy, tiers)
    engine = await asyncio.to_thread(open_engine, bundle, threads=options.threads)
    events.loaded(shared=await asyncio.to_thread(weights_are_shared, bundle))
    profile = await asyncio.to_thread(
        warm, engine, bundle, threads=options.threads, reprofile=options.reprofile
    )
    scheduler = Scheduler(
        policy,
        CostModel(profile, tiers),
        utility=[manifest.utility(tier) for tier in manifest.tiers],
        events=events,
        max_queue_requests=options.max_queue_requests,
        max_batch_rows=options.max_batch_rows,
    )
    model = ServedModel(manifest, engine, scheduler, events)
    model.start()
    return model
