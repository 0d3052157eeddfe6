"""An application whose gateway keeps nothing: several workers of it are one gateway."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from gateway.embed import Gateway, HTTPConnection, Identity

if TYPE_CHECKING:
    from starlette.requests import Request


def authenticate(connection: HTTPConnection) -> Identity:
    return Identity(connection.cookies.get("session", "somebody"), ["#"], ["#"], admin=True)


gateway = Gateway(authenticate=authenticate, server={"drain_seconds": 3})


async def publish(request: Request) -> JSONResponse:
    await gateway.publish(request.path_params["topic"], os.getpid())
    return JSONResponse(os.getpid())


async def subscribe_for(request: Request) -> JSONResponse:
    return JSONResponse(await gateway.subscribe_for(request.path_params["subject"], "told/#"))


app = Starlette(
    routes=[
        Route("/publish/{topic:path}", publish, methods=["POST"]),
        Route("/subscribe_for/{subject}", subscribe_for, methods=["POST"]),
        Mount("/realtime", gateway),
    ],
    lifespan=gateway.lifespan,
)
