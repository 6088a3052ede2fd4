"""What the server says about itself: metadata, health, metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from elastier_server.errors import NotReadyError
from elastier_server.lifecycle import Lifecycle
from elastier_server.state import Models, Served
from elastier_server.version import VERSION

EXTENSIONS = ("parameters", "schedule_policy")
PLATFORM = "onnxruntime_onnx"


def information_routes(models: Models, lifecycle: Lifecycle, registry: CollectorRegistry) -> APIRouter:
    """Routes that answer from what is loaded."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def root() -> dict[str, Any]:
        return {
            "name": "elastier",
            "version": VERSION,
            "models": models.names,
            "docs": "/docs",
            "metrics": "/metrics",
        }

    @router.get("/v2", tags=["server"], summary="Server metadata")
    async def server_metadata() -> dict[str, Any]:
        return {"name": "elastier", "version": VERSION, "extensions": list(EXTENSIONS)}

    @router.get("/v2/health/live", tags=["server"], summary="Whether the process answers")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/v2/health/ready", tags=["server"], summary="Whether every model takes requests")
    async def ready() -> dict[str, bool]:
        for served in models:
            _check_ready(served, lifecycle)
        return {"ready": True}

    @router.get("/metrics", tags=["server"], summary="Prometheus metrics")
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    _add_model_routes(router, models, lifecycle)
    return router


def _add_model_routes(router: APIRouter, models: Models, lifecycle: Lifecycle) -> None:
    for prefix in ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{version}"):

        @router.get(prefix, tags=["models"], summary="Model metadata")
        async def model_metadata(model_name: str, version: str | None = None) -> dict[str, Any]:
            return _metadata(models.find(model_name, version), list(models.versions(model_name)))

        @router.get(f"{prefix}/ready", tags=["models"], summary="Whether the model takes requests")
        async def model_ready(model_name: str, version: str | None = None) -> dict[str, Any]:
            served = models.find(model_name, version)
            _check_ready(served, lifecycle)
            return {"name": model_name, "ready": True}


def _check_ready(served: Served, lifecycle: Lifecycle) -> None:
    if lifecycle.draining:
        raise NotReadyError("the server is shutting down")
    if not served.model.ready:
        raise NotReadyError(
            f"model {served.manifest.name!r} version {served.manifest.version!r} is not ready"
        )


def _metadata(served: Served, versions: list[str]) -> dict[str, Any]:
    manifest = served.manifest
    return {
        "name": manifest.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [
            spec.model_dump(include={"name", "datatype", "shape"}) for spec in manifest.signature.inputs
        ],
        "outputs": [
            spec.model_dump(include={"name", "datatype", "shape"}) for spec in manifest.signature.outputs
        ],
        "tiers": [
            {
                "name": tier.name,
                "widths": tier.widths,
                "parameters": tier.parameters,
                "quality": tier.quality.model_dump(),
                "quality_ratio": manifest.utility(tier),
            }
            for tier in manifest.tiers
        ],
    }
