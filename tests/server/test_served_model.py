"""A model that answers: one worker, callers that come, leave and are too late, and a stop in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from elastier_contract.bundle import Bundle
from elastier_server.errors import (
    DeadlineExceededError,
    InferenceError,
    NotReadyError,
    OverloadedError,
    ServerError,
)
from elastier_server.inference import InferRequest, InferResult, TierBounds
from elastier_server.runtime.load import ServingOptions, load_model
from elastier_server.runtime.served_model import ServedModel
from elastier_server.scheduler.cost import CostModel
from elastier_server.scheduler.policies import policy_by_name
from elastier_server.scheduler.scheduler import Scheduler
from support.counting_events import CountingEvents
from support.fake_engine import FakeEngine
from support.tiny import TINY_FEATURES, tiny_profile

NAMES = ("w4", "w16", "w64")


@asynccontextmanager
async def served(bundle: Bundle, engine: FakeEngine) -> AsyncIterator[tuple[ServedModel, CountingEvents]]:
    events = CountingEvents()
    scheduler = Scheduler(
        policy_by_name("guarded", NAMES),
        CostModel(tiny_profile(), NAMES),
        utility=(0.8, 0.9, 1.0),
        events=events,
        max_queue_requests=8,
        max_batch_rows=64,
    )
    model = ServedModel(bundle.manifest, engine, scheduler, events)
    model.start()
    try:
        yield model, events
    finally:
        engine.open.set()
        await model.drain(10)


def request(value: float = 1.0, *, budget_ms: float = 10_000, rows: int = 1) -> InferRequest:
    now_s = time.perf_counter()
    columns = {name: [value] * rows for name in ("distance", "wind_speed", "temperature")}
    return InferRequest(
        inputs=TINY_FEATURES.encode({"carrier": ["AA"] * rows, "hour": [5] * rows, **columns}),
        rows=rows,
        arrival_s=now_s,
        deadline_s=now_s + budget_ms / 1e3,
        bounds=TierBounds(lowest=0, highest=2),
    )


async def until(engine_event: Callable[[], bool]) -> None:
    """Give the loop and the worker their turns until something is so."""
    async with asyncio.timeout(10):
        while not engine_event():
            await asyncio.sleep(0)


def run(story: Awaitable[None]) -> None:
    async def main() -> None:
        await story

    asyncio.run(main())


def test_callers_who_wait_while_the_engine_runs_share_the_next_batch_and_get_their_own_rows(
    tiny_bundle: Bundle,
) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, events):
            first = asyncio.create_task(model.infer(request(1.0)))
            await until(engine.entered.is_set)
            others = [asyncio.create_task(model.infer(request(value, rows=2))) for value in (2.0, 3.0)]
            await until(lambda: model.waiting == 2)
            engine.open.set()
            results: list[InferResult] = [await first, *[await other for other in others]]
            assert [result.outputs["logits"].ravel().tolist() for result in results] == [
                [3.0],
                [6.0, 6.0],
                [9.0, 9.0],
            ]
            assert [result.batch_rows for result in results] == [1, 4, 4]
            assert engine.runs == [(2, 1), (2, 4)]
            assert all(result.reason == "largest_fits" for result in results)
            assert all(result.queue_s >= 0 and result.compute_s > 0 for result in results)
            await until(lambda: events.counts["requests run"] == 3)

    run(story())


def test_a_caller_who_leaves_costs_no_run(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, events):
            first = asyncio.create_task(model.infer(request()))
            await until(engine.entered.is_set)
            gone = asyncio.create_task(model.infer(request()))
            await until(lambda: model.waiting == 1)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            engine.open.set()
            await first
            assert events.counts["cancelled"] == 1
        assert engine.runs == [(2, 1)]

    run(story())


def test_a_deadline_that_passes_in_the_queue_is_an_error_and_no_run(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, events):
            first = asyncio.create_task(model.infer(request()))
            await until(engine.entered.is_set)
            tight = request(budget_ms=60)
            late = asyncio.create_task(model.infer(tight))
            await until(lambda: model.waiting == 1)
            await until(lambda: time.perf_counter() > tight.deadline_s)
            engine.open.set()
            await first
            with pytest.raises(DeadlineExceededError, match="while the request waited"):
                await late
            assert events.counts["expired"] == 1
        assert engine.runs == [(2, 1)]

    run(story())


def test_an_impossible_budget_is_shed_and_the_next_caller_is_served(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        async with served(tiny_bundle, FakeEngine()) as (model, _):
            with pytest.raises(OverloadedError):
                await model.infer(request(budget_ms=0.5))
            assert (await model.infer(request())).tier == 2

    run(story())


def test_an_engine_that_fails_fails_that_batch_only(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        async with served(tiny_bundle, engine) as (model, _):
            engine.error = RuntimeError("bad tensor")
            with pytest.raises(InferenceError, match="the engine failed: bad tensor"):
                await model.infer(request())
            engine.error = None
            assert (await model.infer(request())).outputs["logits"].tolist() == [[3.0]]

    run(story())


def test_an_engine_that_loses_rows_gives_nobody_the_answer_of_another(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        async with served(tiny_bundle, engine) as (model, _):
            engine.lost_rows = 1
            with pytest.raises(InferenceError, match=r"'logits': expected 3 rows first, got shape \(2, 1\)"):
                await model.infer(request(rows=3))
            engine.lost_rows = 0
            assert (await model.infer(request(rows=3))).outputs["logits"].shape == (3, 1)

    run(story())


def test_inputs_that_cannot_be_joined_fail_that_batch_only(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, _):
            first = asyncio.create_task(model.infer(request()))
            await until(engine.entered.is_set)
            odd = replace(request(), inputs={"numeric": np.zeros((1, 7), np.float32)})
            mates = [asyncio.create_task(model.infer(entry)) for entry in (request(), odd)]
            await until(lambda: model.waiting == 2)
            engine.open.set()
            await first
            for mate in mates:
                with pytest.raises(InferenceError, match="the engine failed"):
                    await mate
            assert (await model.infer(request())).tier == 2

    run(story())


def test_a_run_that_never_ends_holds_up_neither_the_stop_nor_its_caller(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, _):
            stuck = asyncio.create_task(model.infer(request()))
            await until(engine.entered.is_set)
            await model.drain(0, last_run_s=0)
            with pytest.raises(NotReadyError, match="was stopped"):
                await stuck

    run(story())


def test_a_worker_that_dies_answers_everyone_and_takes_no_more(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, _):
            first = asyncio.create_task(model.infer(request()))
            await until(engine.entered.is_set)
            waiting = asyncio.create_task(model.infer(request()))
            await until(lambda: model.waiting == 1)

            def broken(self: Scheduler, now_s: float) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(Scheduler, "dispatch", broken)
            engine.open.set()
            await first
            with pytest.raises(InferenceError, match="worker of this model failed"):
                await waiting
            assert not model.ready
            with pytest.raises(NotReadyError):
                await model.infer(request())

    run(story())


def test_draining_answers_those_who_wait_and_refuses_those_who_come(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, events):
            tasks = [asyncio.create_task(model.infer(request()))]
            await until(engine.entered.is_set)
            tasks.append(asyncio.create_task(model.infer(request())))
            await until(lambda: model.waiting == 1)
            draining = asyncio.create_task(model.drain(10))
            await until(lambda: not model.ready)
            with pytest.raises(NotReadyError, match="loading or stopping"):
                await model.infer(request())
            engine.open.set()
            await draining
            assert [(await task).tier for task in tasks] == [2, 2]
            assert events.counts["shed draining"] == 1

    run(story())


def test_what_outlasts_the_drain_gets_an_error_not_a_hang(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        engine = FakeEngine()
        engine.open.clear()
        async with served(tiny_bundle, engine) as (model, _):
            first = asyncio.create_task(model.infer(request()))
            await until(engine.entered.is_set)
            waiting = asyncio.create_task(model.infer(request()))
            await until(lambda: model.waiting == 1)
            draining = asyncio.create_task(model.drain(0))
            with pytest.raises(NotReadyError, match="was stopped"):
                await waiting
            engine.open.set()
            await draining
            assert (await first).tier == 2

    run(story())


def test_a_real_bundle_is_loaded_warmed_and_answers_as_its_graph_does(tiny_bundle: Bundle) -> None:
    async def story() -> None:
        events = CountingEvents()
        model = await load_model(tiny_bundle, options=ServingOptions(reprofile="never"), events=events)
        assert model.ready
        results: list[InferResult | ServerError] = await asyncio.gather(
            *(model.infer(request(value, rows=3)) for value in (1.0, 2.0, 3.0))
        )
        await model.drain(10)
        assert not model.ready
        for result in results:
            assert isinstance(result, InferResult)
            assert result.outputs["logits"].shape == (3, 1)
            assert np.all(np.isfinite(result.outputs["logits"]))

    run(story())
