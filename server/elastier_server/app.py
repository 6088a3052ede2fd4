"""The composition of the HTTP side: one application from models, settings and metrics."""

from dataclasses import dataclass

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from elastier_server.lifecycle import Lifecycle
from elastier_server.metrics import Metrics
from elastier_server.protocol.arms import Arms
from elastier_server.protocol.desk import Desk, Dialect
from elastier_server.protocol.documentation import INFER_PATH, INFER_VERSION_PATH, PREDICT_PATH, document
from elastier_server.protocol.exchange import Entrance
from elastier_server.protocol.failures import add_handlers
from elastier_server.protocol.infer import InferDialect
from elastier_server.protocol.information import information_routes
from elastier_server.protocol.predict import PredictDialect
from elastier_server.protocol.shortcut import Shortcut
from elastier_server.settings import Settings
from elastier_server.state import Models

_ABOUT = "Elastic tiers: every request is answered by the best size that still meets its latency budget."


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What an application is made of."""

    settings: Settings
    models: Models
    metrics: Metrics
    registry: CollectorRegistry
    lifecycle: Lifecycle
    arms: Arms


def create_app(parts: Parts) -> FastAPI:
    """Compose the application.

    The inference routes are plain ASGI, and their requests go past FastAPI, so that little stands between socket
    and model; all others are ordinary FastAPI.
    """
    # Metrics are Prometheus's here; asking OpenTelemetry on each request whether it is on costs some 10 µs.
    app = FastAPIOffline(  # its pages load nothing from outside hosts
        title="Elastier",
        description=_ABOUT,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.redirect_slashes = False
    app.add_middleware(Entrance)
    add_handlers(app)

    def desk(dialect: Dialect) -> Desk:
        return Desk(
            dialect,
            settings=parts.settings,
            lifecycle=parts.lifecycle,
            metrics=parts.metrics,
            arms=parts.arms,
        )

    infer = desk(InferDialect(parts.models, parts.settings))
    predict = desk(PredictDialect(parts.models, parts.settings))
    routes = [
        Route(INFER_PATH, infer, methods=["POST"]),
        Route(INFER_VERSION_PATH, infer, methods=["POST"]),
        Route(PREDICT_PATH, predict, methods=["POST"]),
    ]
    app.router.routes[:0] = routes  # it is the router that refuses other methods
    app.include_router(information_routes(parts.models, parts.lifecycle, parts.registry))
    document(app, parts.models)
    app.middleware_stack = Shortcut(app.build_middleware_stack(), routes)
    return app
