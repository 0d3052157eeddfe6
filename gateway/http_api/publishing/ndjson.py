"""A stream of messages, one JSON object a line, of any length.

Lines are taken as they arrive: never more is held than one piece of the body and one unfinished line.
Answers that have to be waited for (a bus, a store) are waited for while later lines are published already, up
to a number of bytes: waiting for each piece's by itself halves what goes from node to node.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import anyio.lowlevel

from gateway.errors import GatewayError, TooLarge, Unavailable
from gateway.http_api.publishing.batch import TURN_SECONDS
from gateway.http_api.publishing.receipts import failure_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.codecs.publish_items import PublishItems
    from gateway.engine.lasting import LastingRequest
    from gateway.engine.publishing import PublishService, Receipt
    from gateway.http_api.publishing.limits import PublishingLimits

ERRORS_REPORTED: Final = 100

_UNANSWERED_BYTES: Final = 512 * 1024
"""Of lines that may wait for their answers while others are published: far less than a bus's queue takes."""


class LineStream:
    """One request's stream of lines; ``run`` it once."""

    def __init__(
        self,
        publisher: PublishService,
        session: LastingRequest,
        limits: PublishingLimits,
        items: PublishItems,
    ) -> None:
        """Publish by ``publisher`` what ``items`` reads, for as long as ``session`` lasts."""
        self._publisher = publisher
        self._decode = items.decode
        self._session = session
        self._limits = limits
        self._line = 0
        self._accepted = 0
        self._failed = 0
        self._errors: list[dict[str, Any]] = []
        self._waiting: deque[tuple[int, int, asyncio.Future[Receipt]]] = deque()
        self._waiting_bytes = 0
        self._stopped_at: int | None = None
        self._stopped_by: GatewayError | None = None

    @property
    def stopped(self) -> bool:
        """Whether the stream was ended at some line, before its sender did."""
        return self._stopped_at is not None

    async def run(self, pieces: AsyncIterator[bytes]) -> dict[str, Any]:
        """Publish every line and return the summary that docs/http.md describes.

        Publishing stops at the first line that finds the gateway unavailable, or once the sender may not go
        on: its credential has run out, its subject is blocked, an administrator ends it, the node drains.
        Lines that were on their way behind it may have been published all the same: to repeat from there
        is at least once.
        """
        try:
            await self._publish_all(pieces)
            await self._collect(0)
        finally:
            # Where the sender has gone nobody asks for these: an answer that fails is no record in the log.
            for _, _, future in self._waiting:
                future.add_done_callback(_retrieve)
        return self._summary()

    async def _publish_all(self, pieces: AsyncIterator[bytes]) -> None:
        lines = LineSplitter(self._limits.line_bytes)
        try:
            async for piece in self._session.each(pieces):
                await self._publish(lines.feed(piece))
                if self.stopped:
                    return
            await self._publish(lines.finish())
        except GatewayError as error:
            if error is not self._session.ended:
                raise
            self._fail(self._line + 1, error)
            self._stop(self._line + 1, error)

    async def _publish(self, lines: list[bytes | None]) -> None:
        taken = 0
        while taken < len(lines):
            if taken:
                await anyio.lowlevel.checkpoint()
            await self._collect(_UNANSWERED_BYTES)
            if self.stopped:
                break
            self._session.confirm()
            taken = self._publish_now(lines, taken)

    def _publish_now(self, lines: list[bytes | None], first: int) -> int:
        """Publish what a turn of the event loop has time for; return the index of the line that is next."""
        submit, principal = self._publisher.submit, self._session.principal
        decode = self._decode
        until = monotonic() + TURN_SECONDS
        for index in range(first, len(lines)):
            if index > first and monotonic() > until:
                return index
            line = lines[index]
            self._line += 1
            if line is not None and (not line or line.isspace()):
                continue
            try:
                if line is None:
                    raise TooLarge(f"the line has more than {self._limits.line_bytes} bytes")
                receipt = submit(decode(line), principal)
            except GatewayError as error:
                self._fail(self._line, error)
                if self.stopped:
                    break
                continue
            if isinstance(receipt, asyncio.Future):
                self._waiting.append((self._line, len(line), receipt))
                self._waiting_bytes += len(line)
            else:
                self._accepted += 1
        return len(lines)

    async def _collect(self, most: int) -> None:
        """Take the answers that there are, and wait for more until ``most`` bytes or fewer have none."""
        waiting = self._waiting
        while waiting and (self._waiting_bytes > most or waiting[0][2].done()):
            line, size, future = waiting.popleft()
            self._waiting_bytes -= size
            try:
                await future
            except GatewayError as error:
                self._fail(line, error)
            else:
                self._accepted += 1

    def _fail(self, line: int, error: GatewayError) -> None:
        self._failed += 1
        if len(self._errors) < ERRORS_REPORTED:
            self._errors.append({"line": line, **failure_object(error)})
        if isinstance(error, Unavailable):
            self._stop(line, error)

    def _stop(self, line: int, error: GatewayError) -> None:
        if self._stopped_at is None or line < self._stopped_at:
            self._stopped_at, self._stopped_by = line, error

    def _summary(self) -> dict[str, Any]:
        self._errors.sort(key=lambda error: error["line"])
        summary: dict[str, Any] = {
            "accepted": self._accepted,
            "failed": self._failed,
            "errors": self._errors,
        }
        if self._stopped_at is not None and self._stopped_by is not None:
            summary["stopped_at"] = self._stopped_at
            # Whoever goes on from there has to know why, however many lines were wrong before.
            if all(each["line"] != self._stopped_at for each in self._errors):
                del self._errors[ERRORS_REPORTED - 1 :]
                self._errors.append({"line": self._stopped_at, **failure_object(self._stopped_by)})
        return summary


def _retrieve(future: asyncio.Future[Receipt]) -> None:
    if not future.cancelled():
        future.exception()


class LineSplitter:
    """Cuts pieces of a body into lines; a line over ``limit`` bytes becomes None and is not held."""

    __slots__ = ("_begun", "_limit", "_overlong")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._overlong = False

    def feed(self, piece: bytes) -> list[bytes | None]:
        """Return the lines that ``piece`` completes, without their line ends."""
        first, *rest = piece.split(b"\n")
        self._extend(first)
        if not rest:
            return []
        limit = self._limit
        lines: list[bytes | None] = [self._take()]
        lines += [line if len(line) <= limit else None for line in rest[:-1]]
        self._extend(rest[-1])
        return lines

    def finish(self) -> list[bytes | None]:
        """Return the last line if it has no line end."""
        return [self._take()] if self._begun or self._overlong else []

    def _extend(self, part: bytes) -> None:
        if self._overlong or len(self._begun) + len(part) > self._limit:
            self._overlong = True
            self._begun = bytearray()
        else:
            self._begun += part

    def _take(self) -> bytes | None:
        line = None if self._overlong else bytes(self._begun)
        self._begun = bytearray()
        self._overlong = False
        return line
