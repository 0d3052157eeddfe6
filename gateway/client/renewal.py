"""Renews the credential of a connection, ahead of its end and beside everything else that happens there."""

from __future__ import annotations

import logging
import math
import random
import time
from typing import TYPE_CHECKING, Final

import anyio

from gateway.client.errors import ConnectionLost
from gateway.client.time_limit import time_limit
from gateway.core.messages.commands import Authenticate
from gateway.core.messages.events import Authenticated
from gateway.errors import GatewayError, TokenExpired

if TYPE_CHECKING:
    from gateway.client.connection import GatewayConnection
    from gateway.client.dialler import Dialler

log = logging.getLogger(__name__)

_AHEAD: Final = (0.7, 0.85)
"""After which part of its life a token is renewed: by chance, for many clients may have begun together."""

_LEAST_SECONDS: Final = 1.0
_AGAIN_SECONDS: Final = 30.0
"""The longest wait after a renewal that failed for now."""


class Renewal:
    """Keeps one connection's credential good.

    Who gets the token may take time over it, or fail: nothing else waits for that.
    """

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        self._demanded = anyio.Event()
        self._settled = anyio.Event()
        self._failure: GatewayError | None = None

    def demand(self) -> None:
        """The credential has expired: renew it now."""
        self._demanded.set()

    async def done(self) -> None:
        """Have it renewed now, and wait for that, or for the end of the connection.

        Raises:
            GatewayError: it failed.
        """
        settled = self._settled
        self._demanded.set()
        await settled.wait()
        if self._failure is not None and not isinstance(self._failure, ConnectionLost):
            raise self._failure

    async def run(self, connection: GatewayConnection) -> None:
        """Renew for as long as ``connection`` lasts."""
        try:
            await self._keep(connection)
        finally:
            self._settle()

    async def _keep(self, connection: GatewayConnection) -> None:
        expires = connection.expires
        wait = _ahead(expires)
        while True:
            with anyio.move_on_after(wait):
                await self._demanded.wait()
            self._demanded = anyio.Event()
            self._failure = None
            try:
                expires = await self._renew(connection)
            except GatewayError as error:
                self._failure = error
                if isinstance(error, ConnectionLost):
                    return
                log.warning("the token could not be renewed: %s", error)
                # One that is refused would be again, and too many of them end the connection.
                wait = _again(expires) if error.retry else math.inf
            else:
                wait = _ahead(expires)
            self._settle()

    def _settle(self) -> None:
        self._settled.set()
        self._settled = anyio.Event()

    async def _renew(self, connection: GatewayConnection) -> float | None:
        """Return when the new credential expires."""
        token = await self._dialler.fresh_token()
        if token is None:
            raise TokenExpired("the token has expired, and there is no other")
        with time_limit(self._dialler.open_seconds, "auth"):
            answer = await connection.request(lambda ref: Authenticate(token, ref=ref))
        if not isinstance(answer, Authenticated) or answer.expires is None:
            return None
        return answer.expires / 1000


def _ahead(expires: float | None) -> float:
    if expires is None:
        return math.inf
    left = expires - time.time()
    if left <= 0:
        # The gateway has just taken it, so by its clock it is good; it will tell when that has changed.
        return math.inf
    return max(_LEAST_SECONDS, left * random.uniform(*_AHEAD))  # noqa: S311 - no secret


def _again(expires: float | None) -> float:
    left = 0.0 if expires is None else expires - time.time()
    longest = min(_AGAIN_SECONDS, max(2 * _LEAST_SECONDS, left / 4))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
