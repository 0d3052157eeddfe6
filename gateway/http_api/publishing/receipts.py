"""What publishers are answered over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from gateway.engine.publishing import Receipt
    from gateway.errors import GatewayError


def publish_answer(receipt: Receipt) -> Response:
    """Return 201 with the position of a stored message, 202 for one handed to the live fan-out."""
    return json_answer(receipt_object(receipt), status=receipt_status(receipt))


class PublishAnswer:
    """The same as an ASGI application, for the route that is asked most often.

    Its headers are made in one step, where a `Response` encodes and looks through what it is given.
    """

    __slots__ = ("_receipt",)

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        body = orjson.dumps(receipt_object(self._receipt))
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send(
            {"type": "http.response.start", "status": receipt_status(self._receipt), "headers": headers}
        )
        await send({"type": "http.response.body", "body": body})


def receipt_status(receipt: Receipt) -> int:
    """Return the status of an answer that is ``receipt``."""
    return 202 if receipt.stream is None else 201


def receipt_object(receipt: Receipt) -> dict[str, str | int | None]:
    """Return the wire's ``{id}`` or ``{id, stream, offset}``."""
    if receipt.stream is None:
        return {"id": receipt.id}
    return {"id": receipt.id, "stream": receipt.stream, "offset": receipt.offset}


def failure_object(error: GatewayError) -> dict[str, str | int | None]:
    """Return the wire's ``{code, reason}`` for one item of several."""
    return {"code": error.code, "reason": error.told}


def json_answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``value`` as ``application/json``."""
    return Response(orjson.dumps(value), status, headers, media_type="application/json")
