"""The way of inference requests past FastAPI: between socket and desk stands the entrance, and nothing else."""

from collections.abc import Sequence

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from elastier_contract.errors import ElastierError
from elastier_server.protocol.exchange import Entrance
from elastier_server.protocol.failures import response_to


class Shortcut:
    """Takes requests that match a route to its desk; all others, those of a wrong method too, go the usual way."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._routes = routes
        self._entrance = Entrance(_at_desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                await self._entrance(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _at_desk(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await scope["endpoint"](scope, receive, send)
    except ElastierError as error:
        await response_to(error)(scope, receive, send)
