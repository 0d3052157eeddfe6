"""Where the Redis servers are: one server, Sentinel, or Cluster."""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import Connection, parse_url
from redis.crc import key_slot
from redis.exceptions import RedisError

from gateway.core.timing.backoff import Backoff
from gateway.errors import RedisUnavailable
from gateway.redis.keeping import keep_connected
from gateway.redis.sentinel_news import listen_to_sentinel
from gateway.redis.wire import dial

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.redis.wire import Wire

_SEVERAL = re.compile(r"(rediss?)\+(sentinel|cluster)://(?:([^@/]*)@)?([^/?]+)(?:/([^?]*))?(?:\?(.*))?")

_DATABASE = re.compile(r"(/([0-9]{1,5}/?)?)?")

_LOGIN = {"username", "password", "db"}

# These are a program's own objects, or change the shape of replies, which are read as bytes.
_NO_TEXT = {
    *("credential_provider", "decode_responses", "encoding", "encoder_class", "event_dispatcher"),
    *(
        "legacy_responses",
        "parser_class",
        "redis_connect_func",
        "retry",
        "retry_on_error",
        "socket_keepalive_options",
    ),
}


_LARGEST_PORT = 65535

_BACKOFF = Backoff(first_seconds=0.1, limit_seconds=5.0)

_log = logging.getLogger("gateway.redis")


class Address(NamedTuple):
    """A server's host, empty for one that was named by its URL alone, and port."""

    host: str
    port: int


class Servers(Protocol):
    """All servers that one URL names."""

    sharded: bool
    """Keys and channels belong to servers, as in a cluster, instead of being one server's affair."""

    database: int
    """The number of the database in which keys are. Channels know none: their names have to say it."""

    async def locate(self, channels: Sequence[bytes]) -> Mapping[Address, list[int]]:
        """Which server has which of ``channels`` (or keys), by their indexes.

        Raises:
            RedisUnavailable: no server could be asked.
        """
        ...

    async def connect(self, address: Address) -> Wire:
        """Open a connection to a server of ``locate``.

        Raises:
            RedisUnavailable: it can't be had, or the server is not what it was.
        """
        ...

    async def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when told that ``locate`` has another answer now; ends where nobody tells."""
        ...


class SingleServer:
    """One server, named by a ``redis:``, ``rediss:`` or ``unix:`` URL."""

    sharded = False

    def __init__(self, arguments: dict[str, Any], *, timeout: float) -> None:
        self._arguments = arguments
        self._timeout = timeout
        self.database = int(arguments.get("db") or 0)

    async def locate(self, channels: Sequence[bytes]) -> Mapping[Address, list[int]]:
        """Everything is on the one server."""
        return {Address("", 0): list(range(len(channels)))}

    async def connect(self, address: Address) -> Wire:  # noqa: ARG002 - there is only one
        """Open a connection to it."""
        return await dial(self._arguments, self._timeout)

    async def watch(self, changed: Callable[[], None]) -> None:
        """There is nobody who would tell."""


class SentinelServers:
    """Whatever server the sentinels call master."""

    sharded = False

    def __init__(
        self, sentinels: list[Address], master: str, arguments: dict[str, Any], *, timeout: float
    ) -> None:
        self._sentinels = sentinels
        self._news = 0
        self._master = master
        self._timeout = timeout
        self.database = int(arguments.get("db") or 0)
        special = {name: each for name, each in arguments.items() if name.startswith("sentinel_")}
        self._arguments = {name: each for name, each in arguments.items() if name not in special}
        shared = {name: self._arguments[name] for name in self._arguments if name not in _LOGIN}
        self._sentinel_arguments = shared | {
            name.removeprefix("sentinel_"): each for name, each in special.items()
        }

    async def locate(self, channels: Sequence[bytes]) -> Mapping[Address, list[int]]:
        """Ask the sentinels one after another, the last that answered or told of a new master first."""
        reason, news = "none is named", self._news
        for sentinel in list(self._sentinels):
            try:
                async with asyncio.timeout(self._timeout):
                    host, port = await self._ask(sentinel)
            except (RedisUnavailable, TimeoutError) as exc:
                reason = str(exc) or "it does not answer"
                continue
            # Who has told of a new master meanwhile knows better than one that answered before.
            if self._news == news:
                self._prefer(sentinel)
            return {Address(host, port): list(range(len(channels)))}
        raise RedisUnavailable(f"no sentinel tells of the master {self._master!r}, the last one: {reason}")

    async def connect(self, address: Address) -> Wire:
        """Open a connection to ``address``, if it says itself that it is the master."""
        wire = await dial(self._arguments | address._asdict(), self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                role = (await wire.call("ROLE"))[0]
        except (RedisUnavailable, TimeoutError) as exc:
            await wire.close()
            raise RedisUnavailable(f"Redis: {address.host}:{address.port} does not tell its role") from exc
        if role != b"master":
            await wire.close()
            raise RedisUnavailable(f"Redis: {address.host}:{address.port} is no longer the master")
        return wire

    async def watch(self, changed: Callable[[], None]) -> None:
        """Listen to all sentinels, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for sentinel in list(self._sentinels):
                tasks.create_task(self._listen(sentinel, changed))

    async def _listen(self, sentinel: Address, changed: Callable[[], None]) -> None:
        def switched() -> None:
            # Others may hear of it later.
            self._news += 1
            self._prefer(sentinel)
            changed()

        await keep_connected(
            partial(
                listen_to_sentinel,
                partial(self._dial, sentinel),
                self._master,
                begun=changed,
                switched=switched,
            ),
            _BACKOFF,
            relocate=lambda: None,
            log=_log,
            what=f"listening to the sentinel {sentinel.host}:{sentinel.port}",
        )

    def _prefer(self, sentinel: Address) -> None:
        self._sentinels.remove(sentinel)
        self._sentinels.insert(0, sentinel)

    async def _dial(self, sentinel: Address) -> Wire:
        return await dial(self._sentinel_arguments | sentinel._asdict(), self._timeout)

    async def _ask(self, sentinel: Address) -> Address:
        wire = await self._dial(sentinel)
        try:
            answer = await wire.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)
        finally:
            await wire.close()
        if not answer:
            raise RedisUnavailable(f"Redis: the sentinel knows no master {self._master!r}")
        return Address(answer[0].decode(), int(answer[1]))


class ClusterServers:
    """A cluster; any server of it tells of the others."""

    sharded = True
    database = 0

    def __init__(self, seeds: list[Address], arguments: dict[str, Any], *, timeout: float) -> None:
        self._seeds = seeds
        self._known: list[Address] = []
        self._arguments = arguments
        self._timeout = timeout

    async def locate(self, channels: Sequence[bytes]) -> Mapping[Address, list[int]]:
        """Ask the servers one after another, those first that answered last time."""
        slots = [key_slot(channel) for channel in channels]
        reason = "none is named"
        for server in dict.fromkeys([*self._known, *self._seeds]):
            try:
                async with asyncio.timeout(self._timeout):
                    ranges = await self._ask(server)
            except (RedisUnavailable, TimeoutError) as exc:
                reason = str(exc) or "it does not answer"
                continue
            self._known = [server, *(owner for _, _, owner in ranges if owner != server)]
            return _by_owner(slots, ranges)
        raise RedisUnavailable(f"no server of the cluster answers, the last one: {reason}")

    async def connect(self, address: Address) -> Wire:
        """Open a connection to one of the servers."""
        return await dial(self._arguments | address._asdict(), self._timeout)

    async def watch(self, changed: Callable[[], None]) -> None:
        """Nobody tells but the servers themselves, of those who ask the wrong one."""

    async def _ask(self, server: Address) -> list[tuple[int, int, Address]]:
        wire = await dial(self._arguments | server._asdict(), self._timeout)
        try:
            rows = await wire.call("CLUSTER", "SLOTS")
        finally:
            await wire.close()
        # A server that does not know its own name leaves it empty: it is the one that was asked.
        return [
            (first, last, Address((owner[0] or b"").decode() or server.host, owner[1]))
            for first, last, owner, *_ in rows
        ]


def channel_prefix(prefix: str, database: int) -> str:
    """What a gateway's channels begin with; no other prefix and database have the same.

    Args:
        prefix: of the gateway, without ``@``.
        database: of its keys. Pub/sub knows none, so gateways that share a prefix would hear one another.
    """
    return f"{prefix}:" if database == 0 else f"{prefix}:@{database}:"


def servers_of(url: str, *, timeout: float) -> Servers:
    """Read a Redis URL; opens nothing.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` as in redis-py; ``redis+sentinel://h:p,h:p/master/db``;
            ``redis+cluster://h:p,h:p``; each may carry ``user:password@`` and redis-py's query arguments.
        timeout: seconds that connecting may take.

    Raises:
        ValueError: it is none of these. The text does not repeat the URL, which may hold a password.
    """
    if (match := _SEVERAL.fullmatch(url)) is None:
        return SingleServer(_arguments(url), timeout=timeout)
    scheme, kind, login, hosts, path, query = match.groups()
    addresses = [_address(each, 26379 if kind == "sentinel" else 6379) for each in hosts.split(",")]
    master, _, database = (path or "").partition("/")
    sentinel = kind == "sentinel"
    base = f"{scheme}://{login + '@' if login else ''}h/{database if sentinel else path or ''}"
    arguments = _arguments(f"{base}?{urlencode(parse_qsl(query or ''))}")
    if not sentinel:
        if arguments.pop("db", 0):
            raise ValueError("a Redis Cluster has only database 0")
        return ClusterServers(addresses, arguments, timeout=timeout)
    if not master:
        raise ValueError("a Sentinel URL names the master: redis+sentinel://host:26379/mymaster")
    return SentinelServers(addresses, master, arguments, timeout=timeout)


def _arguments(url: str) -> dict[str, Any]:
    try:
        arguments = dict(parse_url(url))
    except ValueError as exc:
        # redis-py's own message may quote a part of the URL.
        raise ValueError("no Redis URL, as redis://host:6379/0") from exc
    _check_place(urlsplit(url), arguments)
    _check(arguments)
    return arguments


def _check_place(url: SplitResult, arguments: Mapping[str, Any]) -> None:
    # redis-py passes over what it can't read there, and would have the gateway join those of database 0.
    if url.scheme == "unix":
        if url.hostname:
            raise ValueError("the path of a unix:// URL is absolute: unix:///run/redis.sock?db=0")
    elif not _DATABASE.fullmatch(url.path) or url.port == 0:
        raise ValueError("what follows the host of a Redis URL is a port and a number: redis://host:6379/0")
    if arguments.get("db", 0) < 0:
        raise ValueError("the database of a Redis URL is a number from 0 on")


def _check(arguments: Mapping[str, Any]) -> None:
    # Making a connection opens nothing. Done here, what it doesn't take is refused before there is a node.
    given = {name: each for name, each in arguments.items() if not name.startswith("sentinel_")}
    kind = given.pop("connection_class", Connection)
    named = ", ".join(sorted(given.keys() - {"host", "port", "path", *_LOGIN}))
    taken = not given.keys() & _NO_TEXT
    if taken:
        try:
            kind(**given)
        except (TypeError, ValueError, RedisError):
            taken = False
    if not taken:
        # Without the cause: it may quote a value.
        raise ValueError(f"not all of the URL's arguments are such that a connection to Redis takes: {named}")


def _address(text: str, port: int) -> Address:
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        return Address(text.strip("[]"), port)
    if not number.isdecimal():
        raise ValueError("a port of the Redis URL is not a number")
    if not 1 <= int(number) <= _LARGEST_PORT:
        raise ValueError(f"a port of the Redis URL is not between 1 and {_LARGEST_PORT}")
    return Address(host.strip("[]"), int(number))


def _by_owner(slots: list[int], ranges: list[tuple[int, int, Address]]) -> dict[Address, list[int]]:
    owned: dict[Address, list[int]] = {}
    for index, slot in enumerate(slots):
        owner = next((owner for first, last, owner in ranges if first <= slot <= last), None)
        if owner is not None:
            owned.setdefault(owner, []).append(index)
    return owned
