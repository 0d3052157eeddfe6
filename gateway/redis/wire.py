"""A connection to a Redis server.

Of redis-py it is the connection that is used (addresses, TLS, login, parsing by hiredis), not its clients:
those connect again and subscribe again in silence, and the gateway has to know that it wasn't connected.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from redis.asyncio import Connection
from redis.exceptions import MovedError, RedisError, ResponseError

from gateway.errors import RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Command: TypeAlias = "tuple[str | bytes | int, ...]"
Reply: TypeAlias = Any

MESSAGES = frozenset({b"message", b"smessage"})
"""First words of pushes that bring what was published; the second is the channel, as in all pushes."""
SUBSCRIBED = frozenset({b"subscribe", b"ssubscribe"})
"""First words of pushes that confirm a subscription."""
UNSUBSCRIBED = frozenset({b"unsubscribe", b"sunsubscribe"})
"""First words of pushes that tell the end of one, asked for or not."""


class Refused(Exception):  # noqa: N818 - says what happened
    """The server answered a command with an error.

    Attributes:
        code: its first word, ``READONLY`` for instance.
    """

    def __init__(self, text: str, code: str = "ERR") -> None:
        super().__init__(text)
        self.code = code


class Moved(Refused):
    """Another server of the cluster has this key or channel now."""


class Wire:
    """One open connection, by which commands go out and replies come in, in order."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, commands: Iterable[Command]) -> None:
        """Write ``commands``; one task at a time.

        Raises:
            RedisUnavailable: the connection is lost.
        """
        try:
            await self._connection.send_packed_command(self._connection.pack_commands(commands))
        except (RedisError, OSError) as exc:
            raise RedisUnavailable(f"Redis: {exc}") from exc

    async def receive(self) -> Reply:
        """The next reply or push, however long it takes; one task at a time.

        Raises:
            Refused: the reply is an error.
            RedisUnavailable: the connection is lost.
        """
        try:
            return await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
        except MovedError as exc:
            raise Moved(str(exc), "MOVED") from exc
        except ResponseError as exc:
            # redis-py takes the code out of the text where it knows it.
            text = str(exc)
            raise Refused(text, exc.status_code or text.partition(" ")[0]) from exc
        except (RedisError, OSError) as exc:
            raise RedisUnavailable(f"Redis: {exc}") from exc

    async def call(self, *command: str) -> Reply:
        """Send one command and return its reply.

        Raises:
            RedisUnavailable: the connection is lost, or the reply is an error.
        """
        await self.send([command])
        try:
            return await self.receive()
        except Refused as exc:
            raise RedisUnavailable(f"Redis refuses {command[0]}: {exc}") from exc

    async def close(self) -> None:
        """Let go of the connection at once."""
        writer = self._connection._writer  # noqa: SLF001 - closing would wait for what a frozen server won't read
        if writer is not None:
            writer.transport.abort()
        await self._connection.disconnect(nowait=True)


async def dial(arguments: Mapping[str, Any], timeout: float) -> Wire:  # noqa: ASYNC109 - a setting
    """Open a connection; ``arguments`` are redis-py's.

    Raises:
        RedisUnavailable: nothing answers there, or it refuses the login.
    """
    given = dict(arguments)
    kind = given.pop("connection_class", Connection)
    fixed = {
        "protocol": 2,  # the shapes of replies and pushes are RESP2's
        # None: what is sent is then written at once, without a task in between that a time limit could end
        # before; connecting has a limit below.
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "driver_info": None,
    }
    connection = kind(**(given | fixed))
    wire = Wire(connection)
    try:
        async with asyncio.timeout(timeout):
            await connection.connect()
            # The kernel accepts for a frozen server too: only an answer shows that it is there.
            await wire.call("PING")
    except TimeoutError:
        await connection.disconnect(nowait=True)
        raise RedisUnavailable("Redis does not answer") from None
    except (RedisError, OSError) as exc:
        await connection.disconnect(nowait=True)
        raise RedisUnavailable(f"Redis: {exc}") from exc
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return wire
