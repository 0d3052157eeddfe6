"""Between the task that reads and the fan-out: a bounded queue of payloads, losses in their place."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.bus.redis.partitions import CONTROL_PARTITIONS
from gateway.bus.redis.payload import (
    MARK,
    BadPayload,
    decode_head,
    decode_mark,
    decode_publications,
    read_frame,
)
from gateway.bus.redis.sequences import Sequences
from gateway.core.messages.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.messages.publication import MessageEncoder

_TURN_SECONDS = 0.005
"""How long the fan-out may keep the event loop before other work gets its turn."""

_WARN_SECONDS = 10.0

_MOST_COUNTED = 2**32
"""More than that can't have been lost: whoever says so numbers its publications by other rules."""

_REASON_CHARACTERS = 200

_log = logging.getLogger("gateway.bus")


class _Loss:
    __slots__ = ("dropped", "partitions")

    def __init__(self, partitions: frozenset[int], dropped: int | None) -> None:
        self.partitions = partitions
        self.dropped = dropped


class Inbox:
    """What was heard and is not fanned out yet.

    Attributes:
        bytes: of the payloads that wait.
        publications: handed on.
        payloads: heard.
        lost: publications known to be missing.
        foreign: payloads and publications that can't be read, or payloads of a node that divides topics among
            other partitions: what it publishes reaches this node by chance.
    """

    def __init__(
        self,
        partitions: int,
        encoder: MessageEncoder,
        *,
        limit_bytes: int,
        deliver: Callable[[Publication], None],
        lost: Callable[[frozenset[int], int | None], None],
    ) -> None:
        """Make it; ``lost`` is given the partitions and how many are missing, None: unknown."""
        self._partitions = partitions
        self._encoder = encoder
        self._limit = limit_bytes
        self.deliver = deliver
        self._lost = lost
        self._sequences = [Sequences() for _ in range(partitions)]
        self._waiting: deque[tuple[int, bytes] | _Loss] = deque()
        # The losses since the last payload, by partition: a flood that doesn't fit must not fill the memory
        # with its losses.
        self._losses: dict[frozenset[int], _Loss] = {}
        self._warned = -math.inf
        self._refused = 0
        self._handle: asyncio.Handle | None = None
        self.bytes = self.publications = self.payloads = self.lost = self.foreign = 0

    def put(self, partition: int, payload: bytes) -> None:
        """Take a payload; one that doesn't fit is counted as lost."""
        # Only heads are read here: what is behind has to be numbered and bounded even while the fan-out lags.
        self.payloads += 1
        if payload[:1] == MARK:
            self._take_mark(partition, payload)
            return
        try:
            head = decode_head(payload)
        except BadPayload as exc:
            self._lose_unread(partition, exc)
            return
        if head.partitions != self._partitions:
            own = CONTROL_PARTITIONS
            self._warn_of(f"it has {head.partitions - own} partitions, this node {self._partitions - own}")
        # Before the bound: what doesn't fit was heard, and the next payload's number must not tell it once
        # more.
        missing = self._sequences[partition].observe(head.node, head.first, head.count)
        if missing:
            self.miss(frozenset((partition,)), missing)
        if self.bytes + len(payload) > self._limit:
            self.miss(frozenset((partition,)), head.count)
            return
        self.bytes += len(payload)
        self._waiting.append((partition, payload))
        # A loss from here on stands behind this payload, so it is another one.
        self._losses.clear()
        self._wake()

    def interrupt(self, partition: int) -> None:
        """This node could not listen to ``partition`` for a while; those who miss something are told."""
        self._sequences[partition].interrupt()

    def forget(self, partition: int) -> None:
        """This node does not listen to ``partition`` any more, since nobody wants it."""
        self._sequences[partition].forget()

    def close(self) -> None:
        """Fan nothing out any more."""
        self._waiting.clear()
        self._losses.clear()
        self.bytes = 0
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def miss(self, partitions: frozenset[int], dropped: int | None) -> None:
        """Something of ``partitions`` did not come; it is told after what is here already."""
        # In the queue, not at once: subscribers are told of a loss between what came before and after it.
        if dropped is not None and dropped > _MOST_COUNTED:
            dropped = None
        self.lost += dropped or 0
        loss = self._losses.get(partitions)
        if loss is None:
            loss = self._losses[partitions] = _Loss(partitions, dropped)
            self._waiting.append(loss)
        elif loss.dropped is not None:
            loss.dropped = None if dropped is None else loss.dropped + dropped
        self._wake()

    def _take_mark(self, partition: int, payload: bytes) -> None:
        try:
            mark = decode_mark(payload)
        except BadPayload as exc:
            self._lose_unread(partition, exc)
            return
        missing = self._sequences[partition].mark(
            mark.node, mark.following, unconfirmed=mark.unconfirmed, moved=mark.moved
        )
        if missing != 0:
            self.miss(frozenset((partition,)), missing)

    def _lose_unread(self, partition: int, problem: BadPayload) -> None:
        self._warn_of(str(problem))
        self.miss(frozenset((partition,)), None)

    def _warn_of(self, problem: str) -> None:
        self.foreign += 1
        now = perf_counter()
        if now - self._warned >= _WARN_SECONDS:
            self._warned = now
            _log.warning("another node's publications can't be read: %s", problem[:_REASON_CHARACTERS])

    def _refuse(self, reason: str) -> None:
        self._refused += 1
        self._warn_of(reason)

    def _read(self, frame: bytes) -> Publication:
        """As ``read_frame``, where nobody can be told any more: what can't be read is an empty message."""
        try:
            return read_frame(frame)
        except BadPayload as exc:
            self._warn_of(str(exc))
            return Publication("", "", 0, b"null")

    def _wake(self) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._handle = None
        # In turns: a burst from the other nodes must not keep this node's sockets from being served.
        until = perf_counter() + _TURN_SECONDS
        waiting = self._waiting
        try:
            while waiting and perf_counter() < until:
                self._deliver_entry(waiting.popleft())
        finally:
            # Also where one failed: the others' publications don't depend on it.
            if waiting:
                self._wake()

    def _deliver_entry(self, entry: tuple[int, bytes] | _Loss) -> None:
        if isinstance(entry, _Loss):
            if self._losses.get(entry.partitions) is entry:
                del self._losses[entry.partitions]
            self._lost(entry.partitions, entry.dropped)
            return
        partition, payload = entry
        # Before it is read: whatever is wrong with it, it takes no more room.
        self.bytes -= len(payload)
        deliver = self.deliver
        number = self._refused = 0
        complete = False
        try:
            publications = decode_publications(payload, self._encoder, self._refuse, self._read)
            for number, publication in enumerate(publications, start=1):  # noqa: B007
                deliver(publication)
            complete = True
        except BadPayload as exc:
            self._warn_of(str(exc))
        finally:
            # Whatever ended it: what follows in this payload does not come.
            self.publications += number
            self.lost += self._refused
            if not complete:
                self._lost(frozenset((partition,)), None)
            elif self._refused:
                self._lost(frozenset((partition,)), self._refused)
