"""Noticing that the client leaves while it waits for its answer."""

import asyncio
from types import TracebackType

from starlette.types import Receive

from elastier_server.errors import ClientGoneError

_UNWATCHED_S = 0.02
"""Most answers are ready before it pays to listen: a task for each would cost more than the runs it saves."""


class ClientPresent:
    """Runs a block as long as the client is there; `asyncio.timeout` does the same with the clock.

    To be entered after the body was read, since it listens on the same channel. It begins to listen after a moment,
    and then hears too of a client that left before.

    Raises:
        ClientGoneError: The client left; what the block awaited was cancelled.
    """

    def __init__(self, receive: Receive, *, unwatched_s: float = _UNWATCHED_S) -> None:
        self._receive = receive
        self._unwatched_s = unwatched_s
        self._gone = False
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("expected to be entered inside a task")
        self._waiting = task
        self._cancelling = task.cancelling()
        self._timer = asyncio.get_running_loop().call_later(self._unwatched_s, self._begin)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._listening is None:
            return
        self._listening.remove_done_callback(self._left)
        self._listening.cancel()
        if not self._gone:
            return
        if self._waiting.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGoneError("the client left before its answer was ready") from error

    def _begin(self) -> None:
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        self._listening.add_done_callback(self._left)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _left(self, listening: asyncio.Task[None]) -> None:
        # A channel that fails is as gone as one that says so; reading the exception keeps it from the log.
        if not listening.cancelled():
            listening.exception()
            self._gone = True
            self._waiting.cancel()
