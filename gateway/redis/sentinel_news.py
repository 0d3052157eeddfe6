"""What sentinels tell of themselves: that a replica has become the master.

Asking now and then finds a new master seconds late, and what is written to the old one meanwhile is lost.
Every sentinel is listened to: the one that leads a failover knows first, others hear of it up to two seconds
later.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.errors import RedisUnavailable
from gateway.redis.wire import MESSAGES, CommandRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.redis.wire import Reply, Wire

SWITCHED: Final = b"+switch-master"
"""A failover is over."""
PROMOTED: Final = b"+promoted-slave"
"""The replica is a master; other replicas may take a while to follow it, clients needn't wait for that."""

_PING_SECONDS = 5.0


async def listen_to_sentinel(
    connect: Callable[[], Awaitable[Wire]],
    master: str,
    *,
    begun: Callable[[], None],
    switched: Callable[[], None],
) -> None:
    """Listen to one sentinel until the connection is lost.

    Args:
        connect: opens the connection.
        master: the name of the master that matters.
        begun: called once it is listened to: what was told before may have been missed.
        switched: called when another server has become the master.

    Raises:
        RedisUnavailable: the sentinel is away, or doesn't let this login listen.
    """
    wire = await connect()
    try:
        await wire.send([("SUBSCRIBE", SWITCHED, PROMOTED)])
        asked = True
        while True:
            try:
                async with asyncio.timeout(_PING_SECONDS):
                    reply = await wire.receive()
            except TimeoutError:
                if asked:
                    raise RedisUnavailable("Redis: a sentinel does not answer") from None
                asked = True
                await wire.send([("PING",)])
                continue
            asked = False
            if reply[:2] == [b"subscribe", SWITCHED]:
                begun()
            elif concerns(reply, master):
                switched()
    except CommandRefused as exc:
        raise RedisUnavailable(f"Redis: a sentinel refuses to be listened to: {exc}") from exc
    finally:
        await wire.close()


def concerns(reply: Reply, master: str) -> bool:
    """Whether a push tells that ``master`` is another server now."""
    if type(reply) is not list or reply[0] not in MESSAGES:
        return False
    words: list[bytes] = reply[2].split()
    if reply[1] == SWITCHED:
        return words[:1] == [master.encode()]
    # "slave <name> <host> <port> @ <the master's name> <host> <port>"
    return b"@" in words and words[words.index(b"@") + 1 :][:1] == [master.encode()]
