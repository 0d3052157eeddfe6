"""Long work, told while it goes on: a line for each step, and a last one that says what came of it."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from gateway.auth.requests import peer_of
from gateway.errors import GatewayError
from gateway.http_api.audit import note
from gateway.http_api.publishing.endpoints import NDJSON_MEDIA_TYPE
from gateway.http_api.publishing.receipts import failure_object
from gateway.http_api.raw_headers import all_values
from gateway.http_api.waiting_clients import while_connected

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from gateway.auth.principal import Principal
    from gateway.engine.group_administration import Progress
    from gateway.engine.lasting import LastingRequest, LastingRequests


def wants_lines(request: Request) -> bool:
    """Whether the client takes lines of JSON."""
    accepted = b",".join(all_values(request, b"accept")).decode("latin-1").lower()
    return NDJSON_MEDIA_TYPE in {each.partition(";")[0].strip(" \t") for each in accepted.split(",")}


class ProgressLines(Response):
    """Carries ``steps`` out as long as somebody reads how far they have come."""

    media_type = NDJSON_MEDIA_TYPE

    def __init__(
        self,
        request: Request,
        principal: Principal,
        steps: AsyncGenerator[Progress, None],
        *,
        lasting: LastingRequests,
        counted: str = "count",
        rest: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Tell ``principal`` of ``steps``.

        Args:
            request: what asked for them.
            principal: who.
            steps: what goes on while somebody reads.
            lasting: ends it with its credential.
            counted: what the last line calls the number of what was done.
            rest: what else the last line says, once all is done.
        """
        super().__init__()
        del self.headers["content-length"]
        self._request = request
        self._principal = principal
        self._steps = steps
        self._lasting = lasting
        self._counted = counted
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        """Write it until all is done, or nobody listens any more."""
        with self._lasting.begin(self._principal, peer_of(scope).text, patient=False) as session:
            await while_connected(self._request, self._write(send, session))

    async def _write(self, send: Send, session: LastingRequest) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        done = 0
        async with aclosing(self._steps) as steps:
            try:
                while (step := await session.wait(anext(steps, None))) is not None:
                    session.confirm()
                    done = step.done
                    note(self._request.scope, **{self._counted: done})
                    line = orjson.dumps({"done": step.done, "total": step.total}) + b"\n"
                    await session.wait(send({"type": "http.response.body", "body": line, "more_body": True}))
                last = orjson.dumps({self._counted: done, **self._rest()})
            except GatewayError as error:
                last = orjson.dumps({self._counted: done, **failure_object(error)})
        await send({"type": "http.response.body", "body": last + b"\n", "more_body": False})
