"""A client that leaves: its request is taken back, counted, and never takes another down with it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.types import Message

from elastier_contract.bundle import Bundle
from elastier_server.errors import ClientGoneError
from elastier_server.protocol.presence import ClientPresent
from support.serving import INFER, InferBody, Setup, fake_setup


class Caller:
    """The server's side of a connection, by hand: the body comes at once, leaving when told to."""

    def __init__(self, body: bytes) -> None:
        self.left = asyncio.Event()
        self.sent: list[Message] = []
        self._body: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> Message:
        if self._body:
            return self._body.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def call(self, setup: Setup) -> Awaitable[None]:
        scope = {
            "type": "http",
            "method": "POST",
            "path": INFER,
            "root_path": "",
            "query_string": b"",
            "headers": [],
        }
        return setup.app(scope, self.receive, self.send)


def _caller() -> Caller:
    return Caller(json.dumps(InferBody.of(1, timeout=10_000_000)).encode())


def test_a_client_that_leaves_takes_its_request_back(tiny_bundle: Bundle) -> None:
    async def scene() -> Setup:
        setup = fake_setup(tiny_bundle)
        setup.model.gate = asyncio.Event()
        leaving, staying = _caller(), _caller()
        first = asyncio.ensure_future(leaving.call(setup))
        await setup.model.waiting.wait()
        second = asyncio.ensure_future(staying.call(setup))
        leaving.left.set()
        await first
        assert leaving.sent == []
        setup.model.gate.set()
        await second
        assert staying.sent[0]["status"] == 200
        return setup

    setup = asyncio.run(scene())
    assert setup.requests("cancelled") == 1
    assert setup.requests("met", "w64") == 1
    assert setup.lifecycle.running == 0


def test_a_client_that_leaves_while_it_sends_is_counted(tiny_bundle: Bundle) -> None:
    async def scene() -> Setup:
        setup = fake_setup(tiny_bundle)
        caller = Caller(b"{")

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        caller.receive = receive  # type: ignore[method-assign]
        await caller.call(setup)
        assert caller.sent == []
        return setup

    assert asyncio.run(scene()).requests("cancelled") == 1


def test_an_answer_and_a_leave_at_once_do_no_harm(tiny_bundle: Bundle) -> None:
    async def scene() -> Setup:
        setup = fake_setup(tiny_bundle)
        setup.model.gate = asyncio.Event()
        caller = _caller()
        running = asyncio.ensure_future(caller.call(setup))
        await setup.model.waiting.wait()
        setup.model.gate.set()
        caller.left.set()
        await running
        return setup

    setup = asyncio.run(scene())
    assert setup.requests("cancelled") + setup.requests("met", "w64") == 1
    assert setup.lifecycle.running == 0


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def _broken() -> Message:
    raise ConnectionResetError("broken pipe")


async def _stray() -> Message:
    _stray_messages.append({"type": "http.request"})
    await asyncio.sleep(0)
    return {"type": "http.disconnect" if len(_stray_messages) > 3 else "http.request"}


_stray_messages: list[Message] = []


@pytest.mark.parametrize("receive", [_broken, _stray])
def test_a_channel_that_ends_in_any_way_is_a_client_that_left(
    receive: Callable[[], Awaitable[Message]],
) -> None:
    async def scene() -> None:
        with pytest.raises(ClientGoneError):
            async with ClientPresent(receive):
                await asyncio.Event().wait()
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0

    asyncio.run(scene())


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def waits() -> None:
        async with ClientPresent(_never):
            await asyncio.Event().wait()

    async def scene() -> None:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())


def test_an_error_inside_goes_through() -> None:
    async def scene() -> Any:
        async with ClientPresent(_never):
            raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        asyncio.run(scene())


def test_nobody_listens_for_a_client_whose_answer_is_ready_at_once() -> None:
    async def scene() -> None:
        listeners = 0

        async def receive() -> Message:
            nonlocal listeners
            listeners += 1
            return await _never()

        async with ClientPresent(receive, unwatched_s=60):
            await asyncio.sleep(0)
        async with ClientPresent(receive, unwatched_s=0):
            while not listeners:
                await asyncio.sleep(0)
        assert listeners == 1

    asyncio.run(scene())
