"""Requests that wait for something to come: who waits, and whether anybody still does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import anyio

from gateway.auth.requests import peer_of
from gateway.engine.admission import address_key

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.requests import Request

    from gateway.auth.principal import Principal

T = TypeVar("T")


async def while_connected(request: Request, wanted: Awaitable[T]) -> T | None:
    """Await ``wanted``, but no longer than somebody is there to be answered; None where nobody is."""
    scope = anyio.CancelScope()
    # No task group: a child that it cancels is kept, by the error's own traceback, until a collection.
    watching = asyncio.create_task(_cancel_when_gone(request, scope))
    try:
        with scope:
            return await wanted
        return None
    finally:
        watching.cancel()


def asker_of(request: Request, principal: Principal) -> str:
    """Who waits, a subject or an address: nobody may take all places."""
    if principal.subject is not None:
        return f"subject {principal.subject}"
    host = peer_of(request.scope).host
    return f"address {address_key(host)}" if host else ""


async def _cancel_when_gone(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
