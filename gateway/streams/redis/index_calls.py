"""Calls of the scripts that know a stream's topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.streams.redis.calls import ReadOnlyCall
from gateway.streams.redis.scripts import head_of

if TYPE_CHECKING:
    from gateway.core.streams.configuration import Bounds
    from gateway.redis.wire import Reply
    from gateway.streams.redis.log import RedisLog
    from gateway.streams.redis.script import Script

_HEAD = 5


class IndexCall(ReadOnlyCall["Reply"]):
    """Runs a script of the index; what it answers is for who asked."""

    def __init__(
        self,
        log: RedisLog,
        script: Script,
        publish: str,
        question: tuple[str | bytes | int, ...],
        *,
        size: int,
        timeout: float,
    ) -> None:
        super().__init__(log, script, publish, timeout=timeout)
        self._asked = question
        self._bytes = size

    @property
    def size(self) -> int:
        """Bytes that its answer may have."""
        return self._bytes

    def _question(self) -> tuple[str | bytes | int, ...]:
        return self._asked

    def _read(self, reply: Reply) -> Reply:
        return reply


class EpochChanged(Exception):  # noqa: N818 - says what happened
    """Another epoch began meanwhile."""


class IndexSteps:
    """Calls that belong together: all of one epoch.

    Attributes:
        reach: the offset from which on the index knew everything, each time.
    """

    def __init__(self, log: RedisLog, publish: str, timeout: float) -> None:
        self._log = log
        self._publish = publish
        self._timeout = timeout
        self._bounds: Bounds | None = None
        self.reach = 0

    @property
    def known(self) -> Bounds:
        """The log's bounds as the first call told them."""
        assert self._bounds is not None, "nothing was asked yet"
        return self._bounds

    async def ask(self, script: Script, *question: str | bytes | int, size: int = 0) -> Reply:
        """Call ``script``.

        Raises:
            StreamUnavailable: no answer in time, or a refusal.
            EpochChanged: another epoch than the calls before.
        """
        call = IndexCall(self._log, script, self._publish, question, size=size, timeout=self._timeout)
        reply = await call.answer()
        self.take(reply)
        return reply

    def take(self, reply: Reply) -> None:
        """Count ``reply`` among them.

        Raises:
            EpochChanged: it is of another epoch.
        """
        bounds = head_of(reply).bounds
        self._bounds = self._bounds or bounds
        self.reach = max(self.reach, reply[_HEAD])
        if self._bounds.epoch != bounds.epoch:
            raise EpochChanged
