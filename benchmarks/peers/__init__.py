"""What the gateway is compared with; one module each, all behind the same small interface (``base.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.broadcast import Broadcast
from benchmarks.peers.compiled import CompiledGateway
from benchmarks.peers.embedded import EmbeddedDirectly, EmbeddedGateway
from benchmarks.peers.encrypted import EncryptedGateway, GatewayBehindNginx
from benchmarks.peers.floor import Floor
from benchmarks.peers.gateway import Gateway
from benchmarks.peers.mosquitto import Mosquitto
from benchmarks.peers.nats import JetStream, Nats
from benchmarks.peers.rabbitmq import RabbitMq
from benchmarks.peers.redis_server import Redis, RedisAsyncio, RedisPy
from benchmarks.peers.sqlite_loop import SqliteLoop
from benchmarks.peers.starlette_loop import StarletteLoop
from benchmarks.peers.uwebsockets import UWebSockets

if TYPE_CHECKING:
    from benchmarks.peers.base import Peer

PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (
        Gateway,
        CompiledGateway,
        Nats,
        JetStream,
        UWebSockets,
        Mosquitto,
        Broadcast,
        StarletteLoop,
        SqliteLoop,
        Floor,
        RedisPy,
        RedisAsyncio,
        Redis,
        RabbitMq,
        EncryptedGateway,
        GatewayBehindNginx,
        EmbeddedGateway,
        EmbeddedDirectly,
    )
}
