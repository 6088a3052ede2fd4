"""The composition root: from settings to a process that answers."""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import prometheus_client
import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector

from elastier_contract.bundle import Bundle, open_bundle
from elastier_contract.manifest import Manifest
from elastier_server.app import Parts, create_app
from elastier_server.errors import SettingsError
from elastier_server.experiment.assignment import Experiments
from elastier_server.experiment.config import load_experiments
from elastier_server.experiment.exposure import Exposures
from elastier_server.inference import Model, ServingEvents
from elastier_server.lifecycle import Lifecycle
from elastier_server.listening import HttpServer, listening_socket, url_of
from elastier_server.loading import loaded_model
from elastier_server.metrics import Metrics, ModelMetrics
from elastier_server.priority import ENGINE_PRIORITY, LOOP_PRIORITY, take_priority
from elastier_server.protocol.arms import Arms
from elastier_server.settings import Settings
from elastier_server.state import Models, Served
from elastier_server.version import VERSION

LoadModel = Callable[[Bundle, Settings, ServingEvents], AbstractAsyncContextManager[Model]]
"""Loads and warms a bundle's model, and closes it in the end."""

_REMEMBERED_EXPOSURES = 1_000_000


def serve(settings: Settings, load: LoadModel = loaded_model) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    The port is opened only when bundles and experiments are checked and every tier is warm; then one line
    goes to stdout: `listening on http://HOST:PORT`.

    Raises:
        BundleError: A bundle is missing, damaged or of another format.
        ExperimentConfigError: The experiments file is wrong, or does not fit the bundles.
        SettingsError: Two bundles are the same version of a model, or real-time priority is not permitted.
        ListenError: The address cannot be listened on.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The creation time of every series doubles what is scraped, and no rule of ours reads it.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    if settings.realtime:
        take_priority(ENGINE_PRIORITY)
    bundles = open_bundles(settings.bundles)
    experiments = open_experiments(settings.experiments, [bundle.manifest for bundle in bundles])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, bundles, experiments, load))


def open_bundles(paths: Sequence[Path]) -> list[Bundle]:
    """Open and check every bundle.

    Raises:
        BundleError: One is missing, damaged or of another format.
        SettingsError: Two are the same version of a model.
    """
    found: dict[tuple[str, str], Bundle] = {}
    for path in paths:
        bundle = open_bundle(path)
        key = (bundle.manifest.name, bundle.manifest.version)
        if key in found:
            raise SettingsError(
                f"bundles: {found[key].path} and {path} are both model {key[0]!r} version {key[1]!r}"
            )
        found[key] = bundle
    return list(found.values())


def open_experiments(path: Path | None, manifests: Sequence[Manifest]) -> Experiments | None:
    """Read the experiments, and check them against the tiers of every model they apply to.

    Raises:
        ExperimentConfigError: The file is wrong, or an arm does not fit a model.
    """
    if path is None:
        return None
    names = [tier.name for manifest in manifests for tier in manifest.tiers]
    experiments = load_experiments(path, tiers=list(dict.fromkeys(names)))
    for manifest in manifests:
        experiments.check_tiers(manifest.name, [tier.name for tier in manifest.tiers])
    return experiments


async def _serve(
    settings: Settings, bundles: Sequence[Bundle], experiments: Experiments | None, load: LoadModel
) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    budgets_ms = {*settings.budget_classes_ms, settings.default_budget_ms}
    metrics = Metrics(registry, budgets_ms=budgets_ms, version=VERSION)
    _add_arms(metrics, experiments, [bundle.manifest for bundle in bundles])
    async with AsyncExitStack() as stack:
        served = []
        for bundle in bundles:
            model_metrics = ModelMetrics(metrics, bundle.manifest)
            model = await stack.enter_async_context(load(bundle, settings, model_metrics))
            model_metrics.watch_ready(_readiness(model))
            served.append(Served(model=model, metrics=model_metrics))
        parts = Parts(
            settings=settings,
            models=Models(served),
            metrics=metrics,
            registry=registry,
            lifecycle=Lifecycle(),
            arms=Arms(experiments, Exposures(_REMEMBERED_EXPOSURES)),
        )
        await _listen(parts)


async def _listen(parts: Parts) -> None:
    settings = parts.settings
    with listening_socket(settings.host, settings.port) as sock:
        server = HttpServer(
            create_app(parts),
            lifecycle=parts.lifecycle,
            drain_seconds=settings.drain_seconds,
            started=lambda: print(f"listening on {url_of(sock)}", flush=True),
        )
        if settings.realtime:
            take_priority(LOOP_PRIORITY)
        # What is loaded stays: a collection that walks over it would cost some requests their deadline.
        gc.collect()
        gc.freeze()
        await server.serve(sockets=[sock])


def _readiness(model: Model) -> Callable[[], bool]:
    return lambda: model.ready


def _add_arms(metrics: Metrics, experiments: Experiments | None, manifests: Sequence[Manifest]) -> None:
    for experiment in experiments.running if experiments is not None else ():
        models = [manifest for manifest in manifests if experiment.model in {None, manifest.name}]
        for arm in experiment.arms:
            metrics.add_arm(experiment.key, arm.key, weight=arm.weight, models=models)
