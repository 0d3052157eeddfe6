"""What others publish on the gateway's channels in Redis reaches no client, and loses nothing but itself.

Spec: docs/operations.md, "Many nodes: Redis".
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import redis
from websockets.asyncio.client import connect

from gateway.bus.redis.partitions import CONTROL_PARTITIONS, partition_of
from gateway.bus.redis.payload import PayloadHead, encode_payload, encode_record
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.messages.publication import Publication
from tests.integration.outage import PATIENT_REDIS, settings_for
from tests.integration.raw_client import until
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from tests.integration.conftest import StartGateway
    from tests.redis_process import RunningRedis

TOPIC = "orders/a"
NODE = "stranger"


def record(topic: bytes, frame: bytes) -> bytes:
    return len(topic).to_bytes(2, "big") + len(frame).to_bytes(4, "big") + bytes(4) + topic + frame


def good(label: str) -> bytes:
    return encode_record(Publication(TOPIC, label, 1, json.dumps(label).encode()), GatewayV1())


BAD = {
    "an empty topic": record(b"", b'\x81\x0f{"op":"message"}'),
    "an empty topic with a frame": encode_record(Publication("", "x", 1, b"1"), GatewayV1()),
    "garbage for a frame": record(TOPIC.encode(), b"\xff\xfe garbage"),
    "a close frame": record(TOPIC.encode(), b"\x88\x02\x03\xe8"),
    "no frame": record(TOPIC.encode(), b""),
    "a record cut short": b"\0\1",
}


@pytest.mark.parametrize("bad", [pytest.param(bad, id=name) for name, bad in BAD.items()])
async def test_what_is_no_publication_is_told_and_the_others_come(
    gateway_process: StartGateway, redis_server: RunningRedis, bad: bytes
) -> None:
    node = gateway_process(settings_for(redis_server.url, redis=PATIENT_REDIS))
    head = PayloadHead(NODE, 64 + CONTROL_PARTITIONS, 0, 3)
    payload = encode_payload(head, [good("before"), bad, good("after")])
    channel = f"gateway:live:{partition_of(TOPIC, 64)}"
    cut_short = bad == BAD["a record cut short"]
    async with connect(node.ws_url) as websocket, httpx2.AsyncClient() as http:
        await websocket.recv()
        await websocket.send(json.dumps({"op": "subscribe", "filter": "#"}))
        assert json.loads(await websocket.recv())["op"] == "subscribed"
        with redis.Redis(port=redis_server.port) as stranger:
            assert stranger.publish(channel, payload) == 1
        await http.post(f"{node.url}/v1/topics/{TOPIC}", json="own")
        heard: list[Any] = []
        async with asyncio.timeout(HANG_SECONDS):
            while not heard or heard[-1] != "own":
                frame = json.loads(await websocket.recv())
                heard.append(
                    frame["data"] if frame["op"] == "message" else (frame["reason"], frame["dropped"])
                )
    expected = ["before", ("bus", None)] if cut_short else ["before", "after", ("bus", 1)]
    assert heard == [*expected, "own"]
    assert await asyncio.to_thread(node.metric, "gateway_bus_foreign_total") == 1
    await until(lambda: "publications can't be read" in node.stderr_text())
    assert node.stderr_text().count("publications can't be read") == 1
