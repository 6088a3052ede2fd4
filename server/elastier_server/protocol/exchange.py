"""One HTTP exchange on bare ASGI: arrival, request id, the body within its limit, the response."""

import itertools
import logging
import re
import secrets
import time
from http import HTTPStatus

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elastier_server.errors import ClientGoneError, InvalidRequestError, PayloadTooLargeError

log = logging.getLogger(__name__)

ARRIVAL = "elastier.arrival_s"
HEADERS = "elastier.headers"
REQUEST_ID = "elastier.request_id"
_PLAIN_ID = re.compile(rb"[!-~]{1,128}")
_PROCESS_ID = secrets.token_hex(4).encode()
_numbers = itertools.count(1)


class Entrance:
    """The outermost application: stamps arrival and request id, and turns a fault of ours into a 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on; its response carries the header X-Request-Id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[ARRIVAL] = time.perf_counter()
        headers = scope[HEADERS] = dict(scope["headers"])
        request_id = scope[REQUEST_ID] = _request_id(headers.get(b"x-request-id"))
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", request_id.decode())
            if started:
                raise
            error = f"internal error, request id {request_id.decode()}"
            await respond(
                send_with_id, HTTPStatus.INTERNAL_SERVER_ERROR, msgspec.json.encode({"error": error})
            )


class Exchange:
    """A request being read, with what its head says."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self.receive = receive
        self.arrival_s: float = scope[ARRIVAL]
        self._headers: dict[bytes, bytes] = scope[HEADERS]

    def header(self, name: bytes) -> str | None:
        """The value of a header, its name in lower case, or None."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def path_parameter(self, name: str) -> str | None:
        """A part of the path by its name in the route, or None."""
        value: str | None = self._scope["path_params"].get(name)
        return value

    async def read_body(self, limit_bytes: int) -> bytes:
        """Read the whole body.

        Raises:
            PayloadTooLargeError: It is longer than the limit, as declared or as it came.
            InvalidRequestError: It is compressed.
            ClientGoneError: The client left before its end.
        """
        encoding = self.header(b"content-encoding")
        if encoding not in {None, "", "identity"}:
            raise InvalidRequestError(f"expected a body without Content-Encoding, got {encoding!r}")
        declared = self.header(b"content-length")
        if declared is not None and declared.isdecimal() and int(declared) > limit_bytes:
            raise PayloadTooLargeError(f"expected a body of at most {limit_bytes} bytes, got {declared}")
        parts: list[bytes] = []
        total = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError("the client left while it sent its request")
            part: bytes = message.get("body", b"")
            total += len(part)
            if total > limit_bytes:
                raise PayloadTooLargeError(f"expected a body of at most {limit_bytes} bytes, got more")
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)


async def respond(send: Send, status: int, body: bytes) -> None:
    """Send a JSON response."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _request_id(given: bytes | None) -> bytes:
    # Anything else than printable ASCII could not be sent back in a header.
    if given is not None and _PLAIN_ID.fullmatch(given):
        return given
    return b"%b%08x" % (_PROCESS_ID, next(_numbers))
