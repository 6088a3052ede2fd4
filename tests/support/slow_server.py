"""A server whose model answers when it is told to, as a process: `python -m support.slow_server BUNDLE …`.

Each request that waits prints `waiting` on stdout; SIGUSR1 lets all of them go.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from elastier_contract.bundle import Bundle
from elastier_server.inference import InferRequest, InferResult, Model, ServingEvents
from elastier_server.main import serve
from elastier_server.settings import Settings, load_settings
from support.serving import FakeModel


class SlowModel(FakeModel):
    """Waits for its gate, and says so."""

    async def infer(self, request: InferRequest) -> InferResult:
        print("waiting", flush=True)
        return await super().infer(request)


@asynccontextmanager
async def load_slow(bundle: Bundle, settings: Settings, events: ServingEvents) -> AsyncIterator[Model]:
    model = SlowModel(bundle.manifest)
    model.gate = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, model.gate.set)
    yield model


if __name__ == "__main__":
    serve(
        load_settings(bundles=(Path(sys.argv[1]),), port=0, drain_seconds=float(sys.argv[2])),
        load_slow,
    )
