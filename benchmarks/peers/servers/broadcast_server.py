"""``python -m … PORT FEED_PORT``: the fan-out that the websockets library documents."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.servers.lines import LineFeed

subscribers: dict[str, set[ServerConnection]] = {}


async def subscribe(connection: ServerConnection) -> None:
    topics: list[str] = []
    try:
        async for topic in connection:
            assert isinstance(topic, str)
            topics.append(topic)
            subscribers.setdefault(topic, set()).add(connection)
            await connection.send("ready")
    finally:
        for topic in topics:
            subscribers[topic].discard(connection)


def publish(messages: list[tuple[bytes, bytes]]) -> None:
    for topic, payload in messages:
        broadcast(subscribers.get(topic.decode(), ()), payload.decode())


async def main(port: int, feed_port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: LineFeed(publish), "127.0.0.1", feed_port)
    async with serve(
        subscribe, "127.0.0.1", port, compression=None, ping_interval=None, backlog=4096
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
