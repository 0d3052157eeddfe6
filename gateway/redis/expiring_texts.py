"""Short texts under keys that expire, known to all nodes: who reserves one first, and what it is set to.

Asked a few times per request at most, by requests that are rare beside what is published. So there is no
queue and no task: a call takes an idle connection or opens one, and gives it back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.errors import RedisUnavailable, Unavailable
from gateway.redis.servers import servers_of
from gateway.redis.wire import CommandRefused

if TYPE_CHECKING:
    from gateway.redis.servers import Address
    from gateway.redis.wire import Command, Reply, Wire

_RESERVED: Final = b"-"
_SET: Final = b"="
_TAGS: Final = 16
"""Keys are spread over so many slots of a cluster, so that where they are can be remembered."""
_MOST_IDLE: Final = 4

_log: Final = logging.getLogger("gateway.redis")


class ExpiringTexts:
    """Texts in Redis, each for a time."""

    def __init__(self, url: str, *, prefix: str, timeout: float) -> None:
        """Make it; nothing is opened yet.

        Args:
            url: as ``servers_of`` reads it.
            prefix: what keys begin with; without braces.
            timeout: seconds that a call may take.

        Raises:
            ValueError: ``url`` is none of ``servers_of``'s.
        """
        self._servers = servers_of(url, timeout=timeout)
        self._prefix = prefix
        self._timeout = timeout
        self._addresses: dict[int, Address] = {}
        self._idle: dict[Address, deque[Wire]] = {}
        self._refused = False

    async def reserve(self, key: str, seconds: float) -> str | None:
        """Return the text of ``key``, "" while it is reserved; None: it is reserved now, for ``seconds``.

        Where Redis refuses such keys (its ACL knows nothing of them) nothing is known, nor reserved.

        Raises:
            Unavailable: it can't be known now.
        """
        name = self._name(key)
        try:
            set_, known = await self._call(
                key,
                ("SET", name, _RESERVED, "NX", "PX", max(1, int(seconds * 1000))),
                ("GET", name),
            )
        except CommandRefused as exc:
            self._tell(exc)
            return None
        except RedisUnavailable as exc:
            raise Unavailable("whether this has come before can't be known now: Redis is away") from exc
        if set_ is not None:
            return None
        return known[1:].decode() if isinstance(known, bytes) and known.startswith(_SET) else ""

    async def remember(self, key: str, text: str, seconds: float) -> None:
        """Set ``key`` to ``text``; where that fails its reservation ends by itself."""
        command = ("SET", self._name(key), _SET + text.encode(), "PX", max(1, int(seconds * 1000)))
        await self._try(key, command)

    async def release(self, key: str) -> None:
        """Remove ``key``; where that fails its reservation ends by itself."""
        await self._try(key, ("DEL", self._name(key)))

    async def close(self) -> None:
        """Let go of all connections."""
        for idle in self._idle.values():
            while idle:
                await idle.pop().close()

    def _name(self, key: str) -> str:
        return f"{{{self._prefix}:once:{_tag(key):x}}}:{key}"

    async def _try(self, key: str, command: Command) -> None:
        try:
            await self._call(key, command)
        except CommandRefused as exc:
            self._tell(exc)
        except RedisUnavailable:
            return

    async def _call(self, key: str, *commands: Command) -> list[Reply]:
        """Send commands for one key and return their replies, from a connection that is alive."""
        tag = _tag(key)
        try:
            async with asyncio.timeout(self._timeout):
                address = self._addresses.get(tag)
                if address is None:
                    # A key's server is that of its tag; one that is not there any more is forgotten below.
                    address = next(iter(await self._servers.locate([self._name(key).encode()])))
                    self._addresses[tag] = address
                wire = await self._take(address)
                try:
                    await wire.send(commands)
                    replies = await _replies(wire, len(commands))
                except BaseException:
                    # Its next reply would be taken for another's.
                    await wire.close()
                    raise
        except (RedisUnavailable, StopIteration, TimeoutError) as exc:
            self._addresses.clear()
            raise RedisUnavailable(str(exc) or "Redis does not answer") from exc
        idle = self._idle.setdefault(address, deque())
        if len(idle) < _MOST_IDLE:
            idle.append(wire)
        else:
            await wire.close()
        refusal = next((each for each in replies if isinstance(each, CommandRefused)), None)
        if refusal is not None:
            if refusal.code in {"MOVED", "READONLY", "ASK", "CLUSTERDOWN", "LOADING", "TRYAGAIN"}:
                self._addresses.clear()
                raise RedisUnavailable(str(refusal))
            raise refusal
        return replies

    async def _take(self, address: Address) -> Wire:
        idle = self._idle.get(address, deque())
        while idle:
            wire = idle.pop()
            try:
                wire.check()
            except RedisUnavailable:
                await wire.close()
                continue
            return wire
        return await self._servers.connect(address)

    def _tell(self, refusal: CommandRefused) -> None:
        if not self._refused:
            self._refused = True
            _log.warning("Redis refuses keys by which repeats are known on all nodes: %s", refusal)


async def _replies(wire: Wire, count: int) -> list[Reply]:
    replies: list[Reply] = []
    for _ in range(count):
        try:
            replies.append(await wire.receive())
        except CommandRefused as exc:
            replies.append(exc)
    return replies


def _tag(key: str) -> int:
    return int(key[:1], _TAGS)
