"""From an error to its response: the same JSON on every route, `{"error": "<message>"}`."""

import math
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from elastier_contract.errors import ElastierError
from elastier_server.errors import InvalidRequestError, NotReadyError, OverloadedError, PayloadTooLargeError

_RETRY_SOON_S = 1.0


def add_handlers(app: FastAPI) -> None:
    """Answer every error of ours, of the router and of FastAPI's validation."""
    app.add_exception_handler(ElastierError, _our_error)
    app.add_exception_handler(HTTPException, _router_error)
    app.add_exception_handler(RequestValidationError, _validation_error)


def response_to(error: ElastierError) -> JSONResponse:
    """The response to an error of ours."""
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = _whole_seconds(error.retry_after_s)
    elif isinstance(error, NotReadyError):
        headers["Retry-After"] = _whole_seconds(_RETRY_SOON_S)
    elif isinstance(error, PayloadTooLargeError):
        headers["Connection"] = "close"  # else the rest of the body would be read, only to be dropped
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _our_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 - starlette's signature
    if not isinstance(error, ElastierError):
        raise error
    return response_to(error)


async def _router_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    messages = {
        HTTPStatus.NOT_FOUND: f"no route {request.url.path!r}; see /docs",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path!r} does not take the method {request.method}",
    }
    message = messages.get(HTTPStatus(error.status_code), error.detail)
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return response_to(InvalidRequestError(f"{where}: {first['msg']}"))


def _whole_seconds(seconds: float) -> str:
    return str(max(1, math.ceil(seconds)))
