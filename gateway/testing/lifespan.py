"""The lifespan of an ASGI application, begun and ended as a server does it.

Spec: ASGI, "Lifespan Protocol", with its ``state``.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@asynccontextmanager
async def lifespan_of(app: ASGIApp) -> AsyncIterator[ASGIApp]:
    """Run ``app``'s lifespan; gives an application whose requests have its state.

    Raises:
        RuntimeError: the application has failed to start or to end, and has said why in words.
    """
    state: dict[str, Any] = {}
    inward: asyncio.Queue[Message] = asyncio.Queue()
    outward: asyncio.Queue[Message] = asyncio.Queue()
    scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    running = asyncio.create_task(_run(app, scope, inward.get, outward.put))
    try:
        await _told("startup", inward, outward, running)
        yield _with_state(app, state)
        await _told("shutdown", inward, outward, running)
        await running
    finally:
        running.cancel()


async def _run(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def _told(
    event: str,
    inward: asyncio.Queue[Message],
    outward: asyncio.Queue[Message],
    running: asyncio.Task[None],
) -> None:
    await inward.put({"type": f"lifespan.{event}"})
    answer = asyncio.create_task(outward.get())
    waited: list[asyncio.Task[Any]] = [answer, running]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if not answer.done():
        answer.cancel()
        # What it raised is the test's to see; one that returned knows no lifespan.
        running.result()
        return
    told = answer.result()
    if told["type"].endswith(".failed"):
        if running.done():
            running.result()
        raise RuntimeError(f"the application failed in its {event}: {told.get('message', '')}")


def _with_state(app: ASGIApp, state: dict[str, Any]) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return serve
