"""An application around a fake model, and a client that calls it in process."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx
import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from elastier_contract.bundle import Bundle
from elastier_contract.manifest import Manifest
from elastier_server.app import Parts, create_app
from elastier_server.experiment.assignment import Experiments
from elastier_server.experiment.exposure import Exposures
from elastier_server.inference import InferRequest, InferResult
from elastier_server.lifecycle import Lifecycle
from elastier_server.metrics import Metrics, ModelMetrics
from elastier_server.protocol.arms import Arms
from elastier_server.settings import Settings, load_settings
from elastier_server.state import Models, Served


class FakeModel:
    """Answers with the sum of each row of numbers, by the best tier that the request's bounds allow."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.ready = True
        self.requests: list[InferRequest] = []
        self.answers: list[InferResult] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        """If set, every request waits for it."""
        self.waiting = asyncio.Event()
        """Set when a request waits."""
        self.logit: float | None = None
        """If set, every logit."""

    def answered(self, result: InferResult, now_s: float) -> None:
        self.answers.append(result)

    async def infer(self, request: InferRequest) -> InferResult:
        self.requests.append(request)
        if self.gate is not None:
            self.waiting.set()
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        logits = request.inputs["numeric"].sum(axis=1, keepdims=True, dtype=np.float32)
        if self.logit is not None:
            logits = np.full_like(logits, self.logit)
        return InferResult(
            outputs={"logits": logits},
            tier=request.bounds.highest,
            reason="largest_fits",
            queue_s=0.001,
            predicted_s=0.002,
            compute_s=0.0015,
            finished_s=request.arrival_s,
            batch_rows=request.rows,
        )


@dataclass(frozen=True, kw_only=True)
class Setup:
    """An application with the parts that tests look at."""

    app: FastAPI
    model: FakeModel
    registry: CollectorRegistry
    lifecycle: Lifecycle
    settings: Settings

    def sample(self, name: str, labels: Mapping[str, str]) -> float:
        """The value of a metric; a missing one is an error, never 0."""
        value = self.registry.get_sample_value(name, dict(labels))
        if value is None:
            raise LookupError(f"no sample {name} {dict(labels)}")
        return value

    def requests(self, outcome: str, tier: str = "none") -> float:
        """Number of requests of the model by outcome and tier."""
        manifest = self.model.manifest
        labels = {"model": manifest.name, "version": manifest.version, "tier": tier, "outcome": outcome}
        return self.sample("elastier_requests_total", labels)


def fake_setup(bundle: Bundle, *, experiments: Experiments | None = None, **given: Any) -> Setup:
    """An application around a fake model of a bundle; settings by keyword."""
    settings = load_settings(bundles=(bundle.path,), **given)
    registry = CollectorRegistry()
    metrics = Metrics(registry, budgets_ms=settings.budget_classes_ms, version="test")
    model = FakeModel(bundle.manifest)
    served = Served(model=model, metrics=ModelMetrics(metrics, bundle.manifest))
    served.metrics.watch_ready(lambda: model.ready)
    lifecycle = Lifecycle()
    parts = Parts(
        settings=settings,
        models=Models([served]),
        metrics=metrics,
        registry=registry,
        lifecycle=lifecycle,
        arms=Arms(experiments, Exposures(1000)),
    )
    return Setup(
        app=create_app(parts), model=model, registry=registry, lifecycle=lifecycle, settings=settings
    )


class AppClient:
    """A synchronous client of an application in this process."""

    def __init__(self, portal: BlockingPortal, client: httpx.AsyncClient) -> None:
        self._portal = portal
        self._client = client

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def call() -> httpx.Response:
            return await self._client.request(method, path, **options)

        return self._portal.call(call)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Post JSON, or bytes and streams as they are."""
        if isinstance(body, bytes) or hasattr(body, "__aiter__"):
            return self.request("POST", path, content=body, **options)
        return self.request("POST", path, json=body, **options)


@contextmanager
def client_of(app: FastAPI) -> Iterator[AppClient]:
    """Yield a client whose requests share one event loop, as they do in a server."""
    transport = httpx.ASGITransport(app)
    with start_blocking_portal() as portal:
        client = httpx.AsyncClient(transport=transport, base_url="http://server")
        yield AppClient(portal, client)
        portal.call(client.aclose)


INFER = "/v2/models/tiny/infer"
PREDICT = "/v1/predict"


class InferBody(dict[str, Any]):
    """A good body for the tiny bundle, which tests then spoil."""

    @classmethod
    def of(cls, rows: int = 2, **parameters: Any) -> Self:
        return cls(
            inputs=[
                {"name": "categorical", "datatype": "INT64", "shape": [rows, 2], "data": [1, 2] * rows},
                {"name": "numeric", "datatype": "FP32", "shape": [rows, 3], "data": [1.0, 2.0, 0.5] * rows},
            ],
            parameters=parameters,
        )


def assert_answered(client: AppClient) -> None:
    """The server answers a good request, whatever came before it."""
    answer = client.post(INFER, InferBody.of(2))
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [3.5, 3.5]


def good_rows(rows: int = 2) -> list[dict[str, Any]]:
    """Good rows for `/v1/predict` of the tiny bundle."""
    row = {"carrier": "AA", "hour": 7, "distance": 1.0, "wind_speed": 2.0, "temperature": 0.5}
    return [dict(row) for _ in range(rows)]
