"""From a checked bundle to a warm model, by the settings of the server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from elastier_contract.bundle import Bundle
from elastier_server.inference import Model, ServingEvents
from elastier_server.runtime.load import ServingOptions, load_model
from elastier_server.settings import Settings


@asynccontextmanager
async def loaded_model(bundle: Bundle, settings: Settings, events: ServingEvents) -> AsyncIterator[Model]:
    """Load a bundle's model, warm every tier, and stop it in the end.

    Raises:
        BundleCorruptError: ONNX Runtime refuses a graph.
        SettingsError: No such policy.
    """
    options = ServingOptions(
        threads=settings.threads,
        policy=settings.policy,
        max_queue_requests=settings.max_queue_requests,
        max_batch_rows=settings.max_batch_rows,
        reprofile=settings.reprofile,
    )
    model = await load_model(bundle, options=options, events=events)
    try:
        yield model
    finally:
        await model.drain(0.0)  # the server has drained before: nobody waits any more
