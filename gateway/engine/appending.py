"""The way into streams: what they capture goes to the store, and is answered once it is kept.

A store keeps what many publishers bring in one go, so an append is a future: nothing here waits, and
a publisher may have many of them under way. Each is answered within ``ANSWER_SECONDS``, whatever the store
does.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.statistics.latencies import Latencies
from gateway.engine.runtime.timeout_queue import TimeoutQueue
from gateway.errors import BusUnavailable, Conflict, GatewayError, StreamUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.messages.publication import Publication
    from gateway.core.streams.stream import StreamMap
    from gateway.engine.cluster.captured_live import CapturedLive
    from gateway.streams.base import Appended, Dedupe, Store

ANSWER_SECONDS: Final = 1.9
"""A publish is answered within two seconds; what is left is for the way back."""


class Receipt(NamedTuple):
    """What a publisher is told: ``stream`` and ``offset`` where the publication was stored."""

    id: str
    stream: str | None = None
    offset: int | None = None

    @property
    def repeated(self) -> bool:
        """Whether it is of an earlier publication with the same idempotency key."""
        return False


class RepeatedReceipt(Receipt):
    """The first publication's, for a repeat: to its publisher the same."""

    __slots__ = ()

    @property
    def repeated(self) -> bool:
        """See ``Receipt``."""
        return True


@dataclass(slots=True)
class _Counts:
    appended: int = 0
    bytes: int = 0
    repeated: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class AppendStatistics:
    """Counts since the start, each by the stream's name.

    Attributes:
        appended: publications that this node had stored.
        repeated: those that an idempotency key showed to be repeats.
        failed: those that could not be confirmed: the store is away, full, too slow, or too much waits.
    """

    appended: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)


class Appender:
    """Stores publications for all doors.

    Attributes:
        capturing: the name of the stream that captures a topic, or None where it is live.
        latencies: how long the store took to keep what it did not keep at once.
    """

    def __init__(
        self,
        store: Store,
        streams: StreamMap,
        *,
        seconds: float = ANSWER_SECONDS,
        live: CapturedLive | None = None,
    ) -> None:
        """Append to ``store``; what isn't kept after ``seconds`` is answered ``unavailable``.

        While nodes capture different topics, what was kept is answered once ``live`` has it too; None: there
        are no other nodes.
        """
        self.capturing = streams.capturing
        self._store = store
        self._seconds = seconds
        self._live = live
        self._deadlines: TimeoutQueue | None = None
        self._counts = {each.name: _Counts() for each in streams}
        self.latencies = Latencies()

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None, size: int
    ) -> Receipt | asyncio.Future[Receipt]:
        """Store ``publication``, whose body has ``size`` bytes; it is the store's from now on.

        Raises:
            RateLimited: more waits to be stored than may.
            Conflict: the idempotency key was used with another topic or body.
            StoreFull: there is no room; it was not kept.
            StreamUnavailable: it may have been kept all the same.
            BusUnavailable: it was kept, and may not reach nodes that capture other topics.
        """
        try:
            kept = self._store.append(stream, publication, dedupe)
            # A store in memory has it at once: no future, no deadline, and no other turn of the event loop.
            if kept.done() and not self._both_ways:
                return self._receipt(stream, size, kept)
        except GatewayError as error:
            self._count_failure(stream, error)
            raise
        answer: asyncio.Future[Receipt] = kept.get_loop().create_future()
        if self._deadlines is None:
            self._deadlines = TimeoutQueue(answer.get_loop(), self._seconds)
        self._deadlines.start(answer, partial(self._give_up, answer, stream))
        begun = time.monotonic()
        kept.add_done_callback(partial(self._resolve, answer, publication, stream, size=size, begun=begun))
        return answer

    def statistics(self) -> AppendStatistics:
        """A snapshot for metrics and tests."""
        counts = self._counts.items()
        return AppendStatistics(
            {name: each.appended for name, each in counts},
            {name: each.repeated for name, each in counts},
            {name: each.failed for name, each in counts},
        )

    def totals(self) -> tuple[int, int, int]:
        """Publications stored, bytes of their bodies, and repeats, of all streams together."""
        counts = self._counts.values()
        return (
            sum(each.appended for each in counts),
            sum(each.bytes for each in counts),
            sum(each.repeated for each in counts),
        )

    def _receipt(self, stream: str, size: int, kept: asyncio.Future[Appended]) -> Receipt:
        """What to answer, counted; raises what the store did."""
        try:
            appended = kept.result()
        except asyncio.CancelledError:
            raise StreamUnavailable("the store of streams has ended") from None
        # Counted too where the publisher was told `unavailable` before: the stream has it.
        counts = self._counts[stream]
        if appended.repeated:
            counts.repeated += 1
        else:
            counts.appended += 1
            counts.bytes += size
        kind = RepeatedReceipt if appended.repeated else Receipt
        return kind(appended.id, stream, appended.offset)

    @property
    def _both_ways(self) -> bool:
        return self._live is not None and self._live.agreement.both_ways

    def _resolve(
        self,
        answer: asyncio.Future[Receipt],
        publication: Publication,
        stream: str,
        kept: asyncio.Future[Appended],
        *,
        size: int,
        begun: float,
    ) -> None:
        try:
            receipt = self._receipt(stream, size, kept)
        except Exception as error:  # noqa: BLE001 - whatever it is, the publisher must not wait for it
            self._stop_deadline(answer)
            self._fail(answer, stream, error)
            return
        self.latencies.note(time.monotonic() - begun)
        # Asked here and not before: what is stored once the others were told must not miss them.
        if self._live is not None and self._both_ways:
            self._send_copy(answer, publication, receipt, self._live)
            return
        self._stop_deadline(answer)
        if not answer.done():
            answer.set_result(receipt)

    def _stop_deadline(self, answer: asyncio.Future[Receipt]) -> None:
        if self._deadlines is not None:
            self._deadlines.stop(answer)

    def _send_copy(
        self, answer: asyncio.Future[Receipt], publication: Publication, receipt: Receipt, live: CapturedLive
    ) -> None:
        """Send what was stored over the bus as well, and answer then."""
        try:
            copied = live.copy(publication, id=receipt.id, stream=receipt.stream, offset=receipt.offset)
        except GatewayError as error:
            copied = answer.get_loop().create_future()
            copied.set_exception(error)
        if copied is None:
            copied = answer.get_loop().create_future()
            copied.set_result(None)
        copied.add_done_callback(partial(self._resolve_copied, answer, receipt))

    def _resolve_copied(
        self, answer: asyncio.Future[Receipt], receipt: Receipt, copied: asyncio.Future[None]
    ) -> None:
        self._stop_deadline(answer)
        error = None if copied.cancelled() else copied.exception()
        if error is not None:
            assert receipt.stream is not None, "it was stored"
            self._fail(
                answer, receipt.stream, BusUnavailable(f"it was stored, but not told to all nodes: {error}")
            )
        elif not answer.done():
            answer.set_result(receipt)

    def _give_up(self, answer: asyncio.Future[Receipt], stream: str) -> None:
        self._fail(answer, stream, StreamUnavailable(f"stream {stream!r} was not written to in time"))

    def _fail(self, answer: asyncio.Future[Receipt], stream: str, error: Exception) -> None:
        if answer.done():
            return
        self._count_failure(stream, error)
        answer.set_exception(error)
        # Whoever asked may have gone; then nobody looks, and the event loop would log it as forgotten.
        answer.exception()

    def _count_failure(self, stream: str, error: Exception) -> None:
        if not isinstance(error, Conflict):
            self._counts[stream].failed += 1
