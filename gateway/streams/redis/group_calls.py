"""Calls of the scripts of groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.codecs.group_record import encode_list
from gateway.errors import StreamUnavailable
from gateway.streams.redis.calls import ReadOnlyCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.errors import GatewayError
    from gateway.redis.wire import Reply
    from gateway.streams.redis.link import CallLink
    from gateway.streams.redis.log import RedisLog
    from gateway.streams.redis.script import Script

_HEAD = 5


class GroupCall(ReadOnlyCall["Reply"]):
    """Runs a script of one group, by the connection that appends: what it changes counts as appends do.

    It goes once: when its answer is lost nobody knows what was done.
    """

    def __init__(
        self,
        log: RedisLog,
        script: Script,
        publish: str,
        group: str,
        question: tuple[str | bytes | int, ...],
        *,
        size: int,
        timeout: float,
    ) -> None:
        super().__init__(log, script, publish, timeout=timeout)
        self.refusals = log.consuming
        self._group = group
        self._asked = question
        self._bytes = size

    @property
    def size(self) -> int:
        """Bytes that its answer may have."""
        return self._bytes

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """The keys, what this node has seen of the log, and what is asked."""
        keys = self._log.keys
        names = (*keys.all, *keys.groups, *keys.group(self._group))
        return len(names), *names, *self._last_seen_args(), *self._asked

    def lost(self, reason: str) -> None:
        """Tell that it may have been done."""
        self._fail(StreamUnavailable(f"{reason}; it may have been done"))

    def _link(self) -> CallLink | None:
        return self._log.appending

    def _read(self, reply: Reply) -> Reply:
        return reply[_HEAD:]


class SharedCall(GroupCall):
    """A call that many join until it goes: what they bring is done in one step.

    A call costs a server some 0.1 ms whatever it does, so members that acknowledge one by one share them.

    Attributes:
        parts: how many parts of that argument were brought.
    """

    def __init__(
        self,
        log: RedisLog,
        script: Script,
        publish: str,
        group: str,
        opening: Callable[[], tuple[str | bytes | int, ...]],
        *,
        timeout: float,
    ) -> None:
        super().__init__(log, script, publish, group, (), size=0, timeout=timeout)
        self._opening = opening
        self._brought: list[str | int] = []
        self._gone = False
        self.parts = 0

    @property
    def closed(self) -> bool:
        """Nobody can join any more."""
        return self._gone or self.over

    def join(self, parts: Sequence[str | int]) -> None:
        """Have these go along, in the argument behind the opening."""
        if not self._brought:
            self._go()
        self._brought += parts
        self.parts += len(parts)

    async def shared(self) -> Reply:
        """Wait for the answer; whoever leaves takes it from nobody.

        Raises:
            StreamUnavailable: no answer in time, or a refusal.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(self._answer)
        except TimeoutError:
            # One time limit for all, the oldest's.
            self._fail(StreamUnavailable("Redis does not answer; it may have been done"))
            raise StreamUnavailable("Redis does not answer; it may have been done") from None
        except StreamUnavailable as exc:
            # One each: an exception that is raised in several tasks gathers all their tracebacks.
            raise _alike(exc) from None

    def arguments(self) -> tuple[str | bytes | int, ...]:
        """All that was brought; from here on it stays as it is."""
        self._gone = True
        self._asked = (*self._opening(), encode_list(self._brought))
        return super().arguments()


def _alike(error: StreamUnavailable) -> GatewayError:
    return type(error)(*error.args)
