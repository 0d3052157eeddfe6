"""``python -m … PORT``: stores what is posted as NDJSON in a SQLite table, and sends its rows to who asks."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.peers.servers.serving import serve

if TYPE_CHECKING:
    from starlette.requests import Request

# In the working directory, which is made for each measurement.
database = sqlite3.connect("log.db")
database.execute("PRAGMA journal_mode = WAL")
database.execute(
    "CREATE TABLE log (position INTEGER PRIMARY KEY, topic TEXT, id TEXT, time INTEGER, data TEXT)"
)


async def publish(request: Request) -> JSONResponse:
    rows = []
    for line in (await request.body()).splitlines():
        message = json.loads(line)
        data = json.dumps(message["data"])
        rows.append((message["topic"], uuid4().hex[:14], time.time_ns() // 1_000_000, data))
    with database:
        database.executemany("INSERT INTO log (topic, id, time, data) VALUES (?, ?, ?, ?)", rows)
    return JSONResponse({"accepted": len(rows)})


async def replay(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.receive_text()
            # What is in the row is JSON already: nothing is parsed or quoted on the way.
            rows = database.execute("SELECT position, topic, id, time, data FROM log ORDER BY position")
            for position, topic, identity, at, data in rows:
                await websocket.send_text(
                    f'{{"op":"message","topic":"{topic}","id":"{identity}","time":{at},'
                    f'"offset":{position},"data":{data}}}'
                )
            await websocket.send_text('{"op":"caught_up"}')
    except WebSocketDisconnect:
        return


app = Starlette(
    routes=[Route("/v1/publish", publish, methods=["POST"]), WebSocketRoute("/replay", replay)],
)

if __name__ == "__main__":
    serve(app)
