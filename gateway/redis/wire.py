"""A connection to a Redis server.

Of redis-py it is the connection that is used (addresses, TLS, login, parsing by hiredis), not its clients:
those connect again and subscribe again in silence, and the gateway has to know that it wasn't connected.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from redis.asyncio import Connection
from redis.exceptions import MovedError, RedisError, ResponseError

from gateway.errors import RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Command: TypeAlias = "tuple[str | bytes | int, ...]"
Reply: TypeAlias = Any

MESSAGES = frozenset({b"message", b"smessage"})
"""First words of pushes that bring what was published; the second is the channel, as in all pushes."""
SUBSCRIBED = frozenset({b"subscribe", b"ssubscribe"})
"""First words of pushes that confirm a subscription."""
UNSUBSCRIBED = frozenset({b"unsubscribe", b"sunsubscribe"})
"""First words of pushes that tell the end of one, asked for or not."""

_CLOSED = "the connection is closed"


class CommandRefused(Exception):  # noqa: N818 - says what happened
    """The server answered a command with an error.

    Attributes:
        code: its first word, ``READONLY`` for instance.
    """

    def __init__(self, text: str, code: str = "ERR") -> None:
        super().__init__(text)
        self.code = code


class Moved(CommandRefused):
    """Another server of the cluster has this key or channel now."""


class Wire:
    """One open connection, by which commands go out and replies come in, in order."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._on_lost: Callable[[], None] = _nobody
        self._end: str | None = None

    def watch(self) -> None:
        """Notice from now on, also while nothing is asked, that the other side ends the connection."""
        writer = self._connection._writer  # noqa: SLF001 - redis-py looks only when it reads or writes
        assert writer is not None, "it is connected"
        inner = writer.transport.get_protocol()
        writer.transport.set_protocol(_WatchedProtocol(cast("asyncio.Protocol", inner), self._ended))

    def when_lost(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` once the connection is lost; ``check`` says so then, whatever is yet to be read."""
        self._on_lost = notify

    def check(self) -> None:
        """Raise ``RedisUnavailable`` if the connection is known to be lost."""
        if self._end is not None:
            raise RedisUnavailable(f"Redis: {self._end}")

    async def send(self, commands: Iterable[Command]) -> None:
        """Write ``commands``; one task at a time.

        Raises:
            RedisUnavailable: the connection is lost.
        """
        if not self._connection.is_connected:
            # redis-py would connect again, in silence.
            raise RedisUnavailable(f"Redis: {self._end or _CLOSED}")
        try:
            await self._connection.send_packed_command(self._connection.pack_commands(commands))
        except (RedisError, OSError) as exc:
            raise RedisUnavailable(f"Redis: {exc}") from exc
        except RuntimeError as exc:
            # uvloop's word for a write after a reset; asyncio's own loop takes it without one.
            raise RedisUnavailable(f"Redis: {self._end or _CLOSED}") from exc

    async def receive(self) -> Reply:
        """The next reply or push, however long it takes; one task at a time.

        Raises:
            CommandRefused: the reply is an error.
            RedisUnavailable: the connection is lost.
        """
        try:
            return await self._connection.read_response(timeout=math.inf, disconnect_on_error=False)
        except MovedError as exc:
            raise Moved(str(exc), "MOVED") from exc
        except ResponseError as exc:
            # redis-py takes the code out of the text where it knows it.
            text = str(exc)
            raise CommandRefused(text, exc.status_code or text.partition(" ")[0]) from exc
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
        except CommandRefused as exc:
            raise RedisUnavailable(f"Redis refuses {command[0]}: {exc}") from exc

    async def close(self) -> None:
        """Let go of the connection at once."""
        # Whoever closes knows it; and the work that would be woken up is another connection's by then.
        self._on_lost = _nobody
        writer = self._connection._writer  # noqa: SLF001 - closing would wait for what a frozen server won't read
        if writer is not None:
            writer.transport.abort()
        await self._connection.disconnect(nowait=True)

    def _ended(self, error: Exception | None) -> None:
        self._end = str(error) if error else _CLOSED
        self._on_lost()


class _WatchedProtocol(asyncio.Protocol):
    """Hands everything on to redis-py's protocol, and tells of the end."""

    def __init__(self, inner: asyncio.Protocol, ended: Callable[[Exception | None], None]) -> None:
        self._inner = inner
        self._ended = ended
        # The very methods, so that what comes in is not handed through one more call.
        for name in ("data_received", "pause_writing", "resume_writing"):
            setattr(self, name, getattr(inner, name))

    def eof_received(self) -> bool | None:
        """The other side sends nothing more, so it answers nothing more either."""
        stays = self._inner.eof_received()
        self._ended(None)
        return stays

    def connection_lost(self, exc: Exception | None) -> None:
        """It was reset, or this side has closed it."""
        self._inner.connection_lost(exc)
        self._ended(exc)


def _nobody() -> None:
    """Stand in for who is told of a loss."""


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
            wire.watch()
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
