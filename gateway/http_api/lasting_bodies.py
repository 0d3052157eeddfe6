"""Bodies that come slowly: their senders may lose their rights while they send."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request

from gateway.auth.requests import peer_of

if TYPE_CHECKING:
    from starlette.types import Message

    from gateway.auth.principal import Principal
    from gateway.engine.lasting import LastingRequest, LastingRequests
    from gateway.http_api.bodies import BodyReader


async def read_lasting_body(
    request: Request,
    principal: Principal,
    *,
    limit: int,
    lasting: LastingRequests,
    bodies: BodyReader,
    packed: bool = False,
) -> bytes:
    """Return the whole body, see ``BodyReader``, if ``principal`` may still do what it might when it began.

    Raises:
        SubjectBlocked: its subject was blocked meanwhile.
        TokenExpired: its credential has run out meanwhile.
        Unavailable: the node ends before the body does.
    """
    body = _Body(request, principal, lasting)
    try:
        raw = await bodies.read(Request(request.scope, body.receive), limit=limit, packed=packed)
    finally:
        body.end()
    lasting.confirm(principal)
    return raw


class _Body:
    """Becomes a session with its second piece: nearly every body is there in one."""

    __slots__ = ("_begun", "_lasting", "_principal", "_request", "_session")

    def __init__(self, request: Request, principal: Principal, lasting: LastingRequests) -> None:
        self._request = request
        self._principal = principal
        self._lasting = lasting
        self._begun = False
        self._session: LastingRequest | None = None

    async def receive(self) -> Message:
        """See ASGI."""
        if not self._begun:
            self._begun = True
            return await self._request.receive()
        if self._session is None:
            peer = peer_of(self._request.scope).text
            self._session = self._lasting.begin(self._principal, peer, patient=True)
        return await self._session.wait(self._request.receive())

    def end(self) -> None:
        """The body is whole, or nobody wants it any more."""
        if self._session is not None:
            self._lasting.end(self._session)
