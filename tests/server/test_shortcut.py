"""Inference requests do not pass FastAPI, and look from outside as if they did."""

import asyncio

import pytest
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from elastier_contract.bundle import Bundle
from elastier_server.errors import OverloadedError
from elastier_server.protocol.shortcut import Shortcut
from support.serving import INFER, PREDICT, InferBody, client_of, fake_setup, good_rows


class Recording:
    """An endpoint that notes which requests reached it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])


def test_only_what_matches_route_and_method_goes_to_a_desk() -> None:
    usual, desk = Recording(), Recording()
    shortcut = Shortcut(usual, [Route("/m/{name}/infer", desk, methods=["POST"])])

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    async def scene() -> None:
        for method, path in [
            ("POST", "/m/a/infer"),
            ("GET", "/m/b/infer"),
            ("POST", "/m/infer"),
            ("GET", "/"),
        ]:
            scope = {"type": "http", "method": method, "path": path, "headers": []}
            await shortcut(scope, receive, send)
        await shortcut({"type": "lifespan", "path": "lifespan"}, receive, send)

    asyncio.run(scene())
    assert desk.paths == ["/m/a/infer"]
    assert usual.paths == ["/m/b/infer", "/m/infer", "/", "lifespan"]


@pytest.mark.parametrize("path", [INFER, INFER.replace("/infer", "/versions/1/infer"), PREDICT])
def test_an_error_of_ours_has_its_status_its_message_and_the_request_id(
    tiny_bundle: Bundle, path: str
) -> None:
    setup = fake_setup(tiny_bundle)
    setup.model.error = OverloadedError("overloaded: test", retry_after_s=1.5)
    body = {"rows": good_rows(1)} if path == PREDICT else InferBody.of(1)
    with client_of(setup.app) as client:
        answer = client.post(path, body, headers={"X-Request-Id": "r-1"})
        allowed = client.get(path)
    assert (answer.status_code, answer.json()) == (429, {"error": "overloaded: test"})
    assert (answer.headers["retry-after"], answer.headers["x-request-id"]) == ("2", "r-1")
    assert answer.headers["content-type"] == "application/json"
    assert (allowed.status_code, allowed.headers["allow"]) == (405, "POST")


def test_a_fault_of_ours_is_answered_with_the_request_id_that_the_log_has(
    tiny_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    setup = fake_setup(tiny_bundle)
    setup.model.error = ZeroDivisionError("fault")
    with client_of(setup.app) as client:
        answer = client.post(INFER, InferBody.of(1), headers={"X-Request-Id": "r-2"})
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error, request id r-2"})
    assert answer.headers["x-request-id"] == "r-2"
    assert "request r-2 failed" in caplog.text
