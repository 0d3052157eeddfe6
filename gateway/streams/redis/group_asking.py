"""How a node asks Redis about groups."""

from __future__ import annotations

import logging
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.messages.commands import StartKind
from gateway.errors import NotFound
from gateway.streams.redis.group_calls import GroupCall, SharedCall
from gateway.streams.redis.group_configurations import decode_configuration, encode_configuration, fields_of
from gateway.streams.redis.group_scripts import DELETE, GROUPS, PUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.core.groups.configuration import GroupConfiguration
    from gateway.core.messages.commands import Start
    from gateway.redis.wire import Reply
    from gateway.streams.base import Readable
    from gateway.streams.redis.log import RedisLog
    from gateway.streams.redis.script import Script

_CONFIGURATIONS: Final = 1000
"""How many are at hand, decoded."""

_log = logging.getLogger("gateway.streams")

_is_name = re.compile(r"[A-Za-z0-9._-]{1,255}").fullmatch


class _KnownGroups(NamedTuple):
    """The groups of a stream as they were in one life of its log."""

    epoch: str
    groups: dict[str, GroupConfiguration]


class GroupAsking:
    """Asks scripts about groups of all streams.

    Attributes:
        logs: by the names of their streams.
    """

    def __init__(
        self,
        store: Readable,
        logs: Mapping[str, RedisLog],
        publish: str,
        *,
        timeout: float,
        clock: Callable[[], int] | None,
    ) -> None:
        self.logs = logs
        self._store = store
        self._publish = publish
        self._timeout = timeout
        self._clock = clock
        self._fences: dict[tuple[str, str], int] = {}
        self._configurations: dict[bytes, GroupConfiguration] = {}
        self._known: dict[str, _KnownGroups] = {}

    def stream(self, stream: str) -> RedisLog:
        """A stream's log.

        Raises:
            NotFound: there is no such stream.
        """
        if stream not in self.logs:
            raise NotFound(f"no stream {stream[:64]!r} is configured")
        return self.logs[stream]

    def log(self, stream: str, group: str) -> RedisLog:
        """The log of a group's stream.

        Raises:
            NotFound: there is no such stream, or no group can have that name.
        """
        if not _is_name(group):
            raise no_group(stream, group)
        return self.stream(stream)

    def now(self) -> int:
        """Milliseconds since 1970, by this node's clock."""
        return time.time_ns() // 1_000_000 if self._clock is None else self._clock()

    async def configuration(self, stream: str, group: str) -> GroupConfiguration:
        """How a group is configured.

        Raises:
            NotFound: there is no such group.
        """
        found = (await self.groups(stream)).get(group)
        if found is None:
            raise no_group(stream, group)
        return found

    async def ask(
        self, stream: str, group: str, script: Script, *question: str | bytes | int, size: int = 0
    ) -> Reply:
        """What a script answers behind the head of all.

        Raises:
            NotFound: there is no such group.
            StreamUnavailable: no answer in time, or a refusal.
        """
        log = self.log(stream, group)
        told = await self._call(log, group, script, self.opening(log, group, *question), size=size)
        if not told[0] and await self._is_there_again(stream, group):
            told = await self._call(log, group, script, self.opening(log, group, *question), size=size)
        return self.told(stream, group, told)

    async def put(self, stream: str, configuration: GroupConfiguration, *, former: str = "") -> bool:
        """Make a group, or change one; whether it was made.

        Where there was such a group in the epoch ``former``, it begins no later than what that one missed.
        """
        group, log = configuration.name, self.log(stream, configuration.name)
        text, start = encode_configuration(configuration), await self._start(log, configuration.start)
        question = self.opening(log, group, text, start, former, *fields_of(configuration))
        made = self.told(stream, group, await self._call(log, group, PUT, question))
        known = self._known.setdefault(stream, _KnownGroups(log.epoch, {}))
        known.groups[group] = configuration
        return bool(made[0])

    async def delete(self, stream: str, group: str) -> None:
        """End a group.

        Raises:
            NotFound: there is none.
        """
        await self.ask(stream, group, DELETE)
        if stream in self._known:
            self._known[stream].groups.pop(group, None)

    async def _start(self, log: RedisLog, start: Start) -> str | int:
        match start.kind:
            case StartKind.EARLIEST:
                return "earliest"
            case StartKind.OFFSET:
                return max(0, min(start.value, 2**53) - 1)
            case StartKind.TIME:
                return await self._store.before(log.name, start.value)
            case _:
                return "new"

    async def _is_there_again(self, stream: str, group: str) -> bool:
        """Whether a group that was lost with a former life of the log has been made again."""
        known = self._known.get(stream)
        if known is None or known.epoch == self.logs[stream].epoch or group not in known.groups:
            return False
        return group in await self.groups(stream)

    def opening(
        self, log: RedisLog, group: str, *question: str | bytes | int
    ) -> tuple[str | bytes | int, ...]:
        """What every script of a group is told, and what it is asked."""
        now = "" if self._clock is None else self._clock()
        fence = self._fences.get((log.name, group), 0)
        return group, now, fence, log.keys.group_channel(group), *question

    def saw(self, stream: str, group: str, fence: int) -> None:
        """A lease has been given: none after it has as small a fence, whatever Redis forgets."""
        self._fences[stream, group] = max(fence, self._fences.get((stream, group), 0))

    def told(self, stream: str, group: str, told: Reply) -> Reply:
        """An answer without its first part.

        Raises:
            NotFound: that says that there is no such group.
        """
        if not told[0]:
            self._fences.pop((stream, group), None)
            raise no_group(stream, group)
        return told[1:]

    def share(self, log: RedisLog, script: Script, group: str, *question: str | bytes | int) -> SharedCall:
        """A call that others may join."""
        opening = partial(self.opening, log, group, *question)
        return SharedCall(log, script, self._publish, group, opening, timeout=self._timeout)

    async def _call(
        self,
        log: RedisLog,
        group: str,
        script: Script,
        question: tuple[str | bytes | int, ...],
        size: int = 0,
    ) -> Reply:
        call = GroupCall(log, script, self._publish, group, question, size=size, timeout=self._timeout)
        return await call.answer()

    async def groups(self, stream: str) -> Mapping[str, GroupConfiguration]:
        """All groups of a stream; those that Redis has lost since this node knew of them are made again."""
        found = await self._kept(stream)
        known, epoch = self._known.get(stream), self.logs[stream].epoch
        if known is not None and known.epoch != epoch:
            for name, configuration in list(known.groups.items()):
                if name not in found:
                    _log.warning("stream %r has lost its group %r: it is made again", stream, name)
                    await self.put(stream, configuration, former=known.epoch)
                    found[name] = configuration
        self._known[stream] = _KnownGroups(epoch, dict(found))
        return found

    async def _kept(self, stream: str) -> dict[str, GroupConfiguration]:
        told = await self._call(self.stream(stream), "", GROUPS, ())
        found: dict[str, GroupConfiguration] = {}
        for field, text in zip(told[::2], told[1::2], strict=True):
            if field.startswith(b"c:"):
                if len(self._configurations) > _CONFIGURATIONS:
                    self._configurations.clear()
                configuration = self._configurations.get(text) or decode_configuration(text)
                found[configuration.name] = self._configurations[text] = configuration
        return found


def no_group(stream: str, group: str) -> NotFound:
    """What is raised where there is no such group."""
    return NotFound(f"stream {stream[:64]!r} has no group {group[:64]!r}")
