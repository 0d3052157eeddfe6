"""An application of its own, with a gateway in it: what the suite over servers runs."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from gateway.embed import Gateway, HTTPConnection, Identity, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.websockets import WebSocket


async def authenticate(connection: HTTPConnection) -> Identity:
    return Identity(connection.cookies.get("session", "somebody"), ["#"], ["#"], ["#"], admin=True)


redis = os.environ.get("APPLICATION_REDIS")
gateway = Gateway(
    streams=[Stream("orders", filter="orders/#")],
    store=None if redis else {"url": "memory:"},
    redis={"url": redis} if redis else None,
    server={"drain_seconds": 5},
    authenticate=authenticate,
)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with gateway.lifespan(app):
        yield
    print("the application has ended", flush=True)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{os.getpid()} {text}")


async def publish(request: Request) -> JSONResponse:
    topic = request.path_params["topic"]
    return JSONResponse({"pid": os.getpid(), "id": (await gateway.publish(topic, await request.json())).id})


async def subscribe_for(request: Request) -> PlainTextResponse:
    told = await gateway.subscribe_for(request.path_params["subject"], request.query_params["filter"])
    return PlainTextResponse(str(told))


app = Starlette(
    routes=[
        Route("/publish/{topic:path}", publish, methods=["POST"]),
        Route("/subscribe_for/{subject}", subscribe_for, methods=["POST"]),
        WebSocketRoute("/echo", echo),
        Mount("/realtime", gateway),
    ],
    lifespan=lifespan,
)
