"""A server that speaks the serving protocol and does as a test tells it: delays, refusals, nonsense."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 503: "Unavailable"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request for scores."""

    number: int
    since_start_s: float
    path: str
    body: dict[str, Any]
    rows: int
    budget_ms: float


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to do with a request; `document` replaces the whole answer, `hang_up` closes without one."""

    delay_s: float = 0.0
    tier: str = "w64"
    server_ms: float = 0.5
    met: bool | None = None
    status: int = 200
    score: float = 0.25
    document: Any = None
    hang_up: bool = False
    die: bool = False
    """Answer nothing any more, as a killed process: listen no longer and reset every connection."""


Behaviour = Callable[[Asked], Reply]


@dataclass
class FakeServer:
    """Answers on a port of its own, from an event loop in a thread of its own."""

    behave: Behaviour
    model: str = "tiny"
    version: str = "1"
    ready: bool = True
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _start_s: float = 0.0

    async def serve(self, listening: threading.Event, stop: asyncio.Event) -> None:
        """Listen until `stop`."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        listening.set()
        await stop.wait()
        self.die()

    def die(self) -> None:
        """End as a killed process does."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                length = next(
                    (int(h.split(":")[1]) for h in head if h.lower().startswith("content-length:")), 0
                )
                content = await reader.readexactly(length)
                if not await self._answer(writer, head[0].split()[1], content):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, path: str, content: bytes) -> bool:
        if not content:
            status, document = self._metadata(path)
            _write(writer, status, document)
            return True
        asked = self._ask(path, json.loads(content))
        reply = self.behave(asked)
        if reply.die:
            self.die()
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.hang_up or reply.die:
            return False
        _write(writer, reply.status, _document(asked, reply))
        return True

    def _ask(self, path: str, body: dict[str, Any]) -> Asked:
        now_s = asyncio.get_running_loop().time()
        self._start_s = self._start_s or now_s
        plain = path == "/v1/predict"
        asked = Asked(
            number=len(self.asked),
            since_start_s=now_s - self._start_s,
            path=path,
            body=body,
            rows=len(body["rows"]) if plain else body["inputs"][0]["shape"][0],
            budget_ms=body["budget_ms"] if plain else body["parameters"]["timeout"] / 1e3,
        )
        self.asked.append(asked)
        return asked

    def _metadata(self, path: str) -> tuple[int, Any]:
        if path == "/v2/health/ready":
            return (200 if self.ready else 503), {"ready": self.ready}
        if path == f"/v2/models/{self.model}":
            return 200, {"name": self.model, "versions": [self.version], "platform": "onnx"}
        return 404, {"error": f"nothing at {path}"}


def _document(asked: Asked, reply: Reply) -> Any:
    if reply.document is not None:
        return reply.document
    if reply.status != 200:
        return {"error": f"told to answer {reply.status}"}
    told = {
        "tier": reply.tier,
        "reason": "largest_fits",
        "server_ms": reply.server_ms,
        "budget_ms": asked.budget_ms,
        "deadline_met": reply.server_ms <= asked.budget_ms if reply.met is None else reply.met,
    }
    scores = [reply.score] * asked.rows
    if asked.path == "/v1/predict":
        return {"scores": scores, "model_version": "1", **told}
    output = {"name": "logits", "datatype": "FP32", "shape": [asked.rows, 1], "data": scores}
    return {"model_name": "tiny", "model_version": "1", "outputs": [output], "parameters": told}


def _write(writer: asyncio.StreamWriter, status: int, document: Any) -> None:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    retry = "Retry-After: 1\r\n" if status == 429 else ""
    reason = REASONS.get(status, "Told So")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(content)}\r\n{retry}\r\n"
    writer.write(head.encode() + content)


@contextmanager
def fake_server(behave: Behaviour = lambda _: Reply(), **fields: Any) -> Iterator[FakeServer]:
    """Run a fake server in a thread; its `url` is known inside the block."""
    server = FakeServer(behave, **fields)
    listening, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(server.serve(listening, stop))

    thread = threading.Thread(target=run, name="fake-server")
    thread.start()
    try:
        if not listening.wait(10):
            raise TimeoutError("the fake server did not listen")
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
