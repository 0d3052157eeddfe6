"""What looks after a log's index of topics, in the background and in small steps.

Logs of before are indexed, and what a node of an earlier release appends; what is left over of trimming that
the index did not see is swept away; last values are looked up in a log that had none. Each step is done by
one script and complete in itself, so a node that ends leaves nothing half done, and another goes on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from gateway.errors import StreamUnavailable
from gateway.streams.redis.index_calls import IndexCall
from gateway.streams.redis.index_scripts import TEND

if TYPE_CHECKING:
    from gateway.streams.limits import RedisStoreLimits
    from gateway.streams.redis.indexed_log import IndexedLog

_REFUSED_SECONDS = 0.5
"""How long to wait where Redis is away, or refuses."""

_LOG_SECONDS = 10.0
"""Progress is told this often."""

_OTHER_SECONDS = 0.5
"""The pause while another node is at it."""

_DONE, _GOES_ON, _BY_ANOTHER = range(3)

_log = logging.getLogger("gateway.streams")


class IndexTending:
    """Tends one log's index."""

    def __init__(self, index: IndexedLog, publish: str, limits: RedisStoreLimits) -> None:
        self._index = index
        self._publish = publish
        self._limits = limits
        self._node = secrets.token_hex(8)
        self._task = self._cursor = b""
        self._told_task = ""
        self._told_at = 0.0

    async def run(self) -> None:
        """Tend it for ever."""
        log = self._index.log
        while True:
            seconds = self._limits.look
            try:
                state = await self._step()
            except StreamUnavailable as exc:
                _log.debug("stream %r can't be indexed: %s", log.name, exc)
                seconds = _REFUSED_SECONDS
            else:
                self._index.wanted.clear()
                if state == _GOES_ON:
                    continue
                if state == _BY_ANOTHER:
                    seconds = _OTHER_SECONDS
            await self._rest(seconds)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._index.wanted.wait()
        except TimeoutError:
            return
        # Whoever asks in vain asks again, as long as another node is at it.
        await asyncio.sleep(min(seconds, 0.02))

    async def _step(self) -> int:
        loop = asyncio.get_running_loop()
        began = loop.time()
        log = self._index.log
        question = (self._node, int(log.configuration.last_values), self._task, self._cursor)
        call = IndexCall(log, TEND, self._publish, question, size=0, timeout=self._limits.timeout)
        # It needs more rights than reading does: what is refused of it says nothing of reads.
        call.refusals = log.tending
        reply = await call.answer()
        known, self._task, self._cursor, state = reply[5:9]
        self._tell(self._task.decode(), known - reply[1], state)
        if state == _GOES_ON:
            # As long again for everybody else.
            await asyncio.sleep(loop.time() - began)
        self._index.tended.set()
        return int(state)

    def _tell(self, task: str, left: int, state: int) -> None:
        name, what, now = self._index.log.name, task.partition(" ")[0], asyncio.get_running_loop().time()
        if state == _DONE:
            if self._told_task:
                _log.info("the index of topics of stream %r is complete", name)
            self._told_task = ""
        elif state == _GOES_ON and (what != self._told_task or now >= self._told_at + _LOG_SECONDS):
            self._told_task, self._told_at = what, now
            if what == "indexing":
                _log.info("indexing the topics of stream %r: %d offsets are left", name, left)
            else:
                _log.info("%s the index of topics of stream %r", what, name)
