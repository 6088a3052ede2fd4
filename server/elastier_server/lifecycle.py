"""From ready to drained: which requests run, and how the last of them end."""

import asyncio
import logging

from elastier_server.errors import NotReadyError

log = logging.getLogger(__name__)


class Lifecycle:
    """Counts the requests that run; once it drains, it takes no more and waits for those."""

    def __init__(self) -> None:
        self.draining = False
        self.expired = False
        """The time for draining is over: what still runs is cancelled."""
        self._running: set[asyncio.Task[object]] = set()
        self._idle = asyncio.Event()

    @property
    def running(self) -> int:
        """Requests that run now."""
        return len(self._running)

    def enter(self) -> asyncio.Task[object]:
        """Begin a request in the current task.

        Raises:
            NotReadyError: The server drains.
        """
        if self.draining:
            raise NotReadyError("the server is shutting down and takes no more requests")
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("expected to be called inside a task")
        self._running.add(task)
        return task

    def leave(self, task: asyncio.Task[object]) -> None:
        """End a request that was begun."""
        self._running.discard(task)
        if self.draining and not self._running:
            self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Take no more requests, wait for those that run, and cancel those that outlast `seconds`."""
        self.draining = True
        log.info("draining %d requests for at most %g s", self.running, seconds)
        if not self._running:
            return
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            log.warning("%d requests were not answered within %g s", self.running, seconds)
            self.expire()

    def expire(self) -> None:
        """Cancel what still runs; each such request is answered with 503."""
        self.expired = True
        for task in self._running:
            task.cancel()
