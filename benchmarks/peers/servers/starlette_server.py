"""``python -m … PORT``: the fan-out that tutorials teach, and a route that answers a POST."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.peers.servers.serving import serve

if TYPE_CHECKING:
    from starlette.requests import Request

subscribers: dict[str, list[WebSocket]] = {}


async def subscribe(websocket: WebSocket) -> None:
    await websocket.accept()
    topics: list[str] = []
    try:
        while True:
            topic = await websocket.receive_text()
            topics.append(topic)
            subscribers.setdefault(topic, []).append(websocket)
            await websocket.send_text("ready")
    except WebSocketDisconnect:
        for topic in topics:
            subscribers[topic].remove(websocket)


async def publish(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            topic, _, payload = (await websocket.receive_text()).partition(" ")
            for subscriber in list(subscribers.get(topic, ())):
                await subscriber.send_text(payload)
    except WebSocketDisconnect:
        return


async def post(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse({"id": uuid4().hex[:14]}, 202)


app = Starlette(
    routes=[
        WebSocketRoute("/subscribe", subscribe),
        WebSocketRoute("/publish", publish),
        Route("/v1/topics/{topic:path}", post, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    serve(app)
