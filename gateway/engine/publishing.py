"""The use case publish: whatever the door, one set of checks, then the way to the bus or into a stream."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.messages.publication import Publication, Publish
from gateway.core.topics.grammar import TopicLimits, parse_topic
from gateway.engine.appending import Receipt
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import BadCommand, BadTopic, NotPermitted, RateLimited, TooLarge, Unavailable
from gateway.streams.base import Dedupe

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gateway.auth.principal import Principal
    from gateway.bus.base import Bus
    from gateway.core.session.idempotency import IdempotencyWindow
    from gateway.core.session.rate import KeyedRates
    from gateway.engine.appending import Appender

__all__ = ["PublishService", "PublishStatistics", "Receipt"]

# Which topics there are is the publishers' to choose: 11 MB at the most. Longer ones are parsed each time.
_REMEMBERED_TOPICS: Final = 16384
_LONGEST_REMEMBERED: Final = 128
_UNKNOWN: Final = ""
"""In place of a stream's name, which is never empty: it has yet to be looked for."""


@dataclass(frozen=True, slots=True)
class PublishStatistics:
    """Counts since the start.

    Attributes:
        accepted: publications handed to the bus, or stored in a stream.
        bytes: of their bodies.
        repeated: publishes that an idempotency key showed to be repeats.
    """

    accepted: int
    bytes: int
    repeated: int


class PublishService:
    """Accepts publications for all doors."""

    def __init__(
        self,
        bus: Bus,
        *,
        answers: IdempotencyWindow[Receipt],
        topic_limits: TopicLimits,
        message_bytes: int,
        refusals: Refusals | None = None,
        subject_rates: KeyedRates[str] | None = None,
        appender: Appender | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Publish to ``bus``, and what a stream captures through ``appender``; None: there are no streams.

        ``clock`` tells monotonic seconds, ``wall_clock_ns`` nanoseconds since 1970.
        """
        self._bus = bus
        self._answers = answers
        self._topic_limits = topic_limits
        self._message_bytes = message_bytes
        self._refusals = refusals or Refusals()
        self._subject_rates = subject_rates
        self._appender = appender
        self._clock = clock
        self._wall_clock_ns = wall_clock_ns
        self._streams: dict[str, str | None] = {}  # of topics known to be valid
        self._prefix = secrets.token_hex(5)
        self._number = 0  # of the last publication that was named
        self._accepted = self._bytes = self._repeated = 0
        self._ended = False

    def captures(self, topic: str) -> bool:
        """Whether a stream captures a topic."""
        return self._appender is not None and self._appender.capturing(topic) is not None

    def submit(
        self,
        command: Publish,
        principal: Principal,
        *,
        dedupe_seconds: float | None = None,
        fingerprint: bytes | None = None,
    ) -> Receipt | asyncio.Future[Receipt]:
        """Accept one publication; synchronous wherever the bus is.

        ``dedupe_seconds``: a stream remembers its idempotency key at least so long. ``fingerprint``: what a
        stream takes for the same content, a digest; topic and body where there is none.

        Returns:
            The receipt, or a future of it where another node's answer, or a store's, is awaited.

        Raises:
            BadTopic: the topic is not valid, or is the gateway's own (``$…``).
            BadCommand: it is to be delayed, and no stream captures it.
            NotPermitted: no grant of ``principal`` matches the topic.
            TooLarge: the body is over ``message_bytes``.
            RateLimited: its subject publishes too fast, or more waits to be stored than may.
            Conflict: the idempotency key was used for something else, or is in use right now.
            BusUnavailable: it may have been delivered all the same.
            StreamUnavailable: it may have been stored all the same.
            StoreFull: it was not stored.
            Unavailable: the node is about to end.
        """
        if self._ended:
            raise Unavailable("the node drains: publish to another one")
        topic = command.topic
        try:
            stream = self._streams[topic]
        except KeyError:
            stream = self._find_stream(topic)
        if not principal.grants.may_publish(topic):
            return self._ask_first(command, principal, dedupe_seconds, fingerprint)
        body = command.data if command.data is not None else command.binary
        size = len(body) if body is not None else 0
        if size > self._message_bytes:
            raise TooLarge(f"a message may have {self._message_bytes} bytes, this one has {size}")
        if self._subject_rates is not None and principal.subject is not None:
            self._check_rate(self._subject_rates, principal.subject)
        # The time is the gateway's: publishers' clocks differ, and retention goes by it.
        publication = Publication(
            topic,
            command.id or self._make_id(),
            self._wall_clock_ns() // 1_000_000,
            command.data,
            command.binary,
            command.content_type,
            command.headers,
            command.key,
            None,
            None,
            command.deleted,
        )
        if stream is not None and self._appender is not None:
            publication.delay = command.delay or None
            dedupe = None
            if command.idempotency_key is not None:
                dedupe = _dedupe(command, principal.subject, dedupe_seconds, fingerprint)
            return self._appender.append(stream, publication, dedupe, size)
        if command.delay:
            raise BadCommand(f"no stream captures {topic[:128]!r}: it can't be delayed")
        if command.idempotency_key is not None:
            return self._submit_once(command, publication, principal.subject, size)
        return self._hand_over(publication, size)

    def submit_plain(self, topic: str, data: bytes, principal: Principal) -> asyncio.Future[Receipt] | None:
        """As ``submit``, what says nothing but its topic and its JSON body, and whose receipt nobody wants.

        Returns:
            A future where another node's answer, or a store's, is awaited; None: it is accepted.
        """
        if not self.is_plain(topic, len(data), principal):
            receipt = self.submit(Publish(topic, data), principal)
            return None if isinstance(receipt, Receipt) else receipt
        self._number = number = self._number + 1  # as in `_make_id`, without the call
        publication = Publication(topic, f"{self._prefix}-{number}", self._wall_clock_ns() // 1_000_000, data)
        handed_over = self._bus.publish(publication)
        self._accepted += 1
        self._bytes += len(data)
        return None if handed_over is None else _after(handed_over, Receipt(publication.id))

    def is_plain(self, topic: str, size: int, principal: Principal) -> bool:
        """Whether ``submit`` would accept a body of ``size`` bytes without anything that is special.

        A live topic that is known, nothing that is to be refused, counted or asked for.
        """
        return (
            self._streams.get(topic, _UNKNOWN) is None
            and self._subject_rates is None
            and size <= self._message_bytes
            and not self._ended
            and principal.grants.may_publish(topic)
        )

    def is_ordinary(self, topic: str, size: int, principal: Principal) -> bool:
        """As ``is_plain``, but a stream may capture the topic: store and bus alone can refuse it."""
        # The same once more, and not called from there: that is asked for each message of a WebSocket.
        return (
            topic in self._streams
            and self._subject_rates is None
            and size <= self._message_bytes
            and not self._ended
            and principal.grants.may_publish(topic)
        )

    def publish_plain(self, topic: str, data: bytes, content_type: str | None) -> str:
        """As ``submit``, what ``is_plain``, over a bus that answers at once; return the publication's id."""
        publication = Publication(
            topic,
            self._make_id(),
            self._wall_clock_ns() // 1_000_000,
            data,
            None,
            content_type,
        )
        self._bus.publish(publication)
        self._accepted += 1
        self._bytes += len(data)
        return publication.id

    def publish_all_plain(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        """As ``publish_plain``, topics with their bodies, all at one time; return the publications' ids."""
        publish = self._bus.publish
        now = self._wall_clock_ns() // 1_000_000
        names = []
        for topic, data in items:
            name = self._make_id()
            publish(Publication(topic, name, now, data))
            names.append(name)
            self._accepted += 1
            self._bytes += len(data)
        return names

    async def publish(self, command: Publish, principal: Principal) -> Receipt:
        """Like ``submit``, awaited."""
        receipt = self.submit(command, principal)
        return receipt if isinstance(receipt, Receipt) else await receipt

    def end(self) -> None:
        """Accept nothing more: what is accepted later could not be answered before the node ends."""
        self._ended = True

    def statistics(self) -> PublishStatistics:
        """A snapshot for metrics and tests."""
        appended, size, repeated = (0, 0, 0) if self._appender is None else self._appender.totals()
        return PublishStatistics(self._accepted + appended, self._bytes + size, self._repeated + repeated)

    def _ask_first(
        self,
        command: Publish,
        principal: Principal,
        dedupe_seconds: float | None,
        fingerprint: bytes | None,
    ) -> asyncio.Future[Receipt]:
        """As ``submit``, once it is known whether ``principal`` may; what was submitted first goes first."""
        topic = command.topic
        asked = principal.grants.ask("publish", topic)
        if asked is None:
            self._refusals.count("grant")
            raise NotPermitted(f"no grant to publish to {topic[:128]!r}")
        answer: asyncio.Future[Receipt] = asked.get_loop().create_future()

        def go_on(done: asyncio.Future[bool]) -> None:
            if answer.done():
                return
            if done.cancelled():
                answer.set_exception(Unavailable("the node ends before it is known whether that is allowed"))
                return
            try:
                done.result()
                receipt = self.submit(
                    command, principal, dedupe_seconds=dedupe_seconds, fingerprint=fingerprint
                )
            except Exception as error:  # noqa: BLE001 - it is the publisher's, who awaits the answer
                answer.set_exception(error)
                return
            if isinstance(receipt, Receipt):
                answer.set_result(receipt)
            else:
                receipt.add_done_callback(lambda last: _pass_on(last, answer))

        asked.add_done_callback(go_on)
        return answer

    def _make_id(self) -> str:
        self._number += 1
        return f"{self._prefix}-{self._number}"

    def _find_stream(self, topic: str) -> str | None:
        """The stream that captures ``topic``, or None where it is live; remembered, if the topic is valid."""
        parse_topic(topic, self._topic_limits)
        if topic[0] == "$":
            raise BadTopic(f"topic {topic[:128]!r}: topics that begin with '$' are the gateway's own")
        stream = None if self._appender is None else self._appender.capturing(topic)
        if len(topic) <= _LONGEST_REMEMBERED:
            if len(self._streams) >= _REMEMBERED_TOPICS:
                self._streams.clear()
            self._streams[topic] = stream
        return stream

    def _check_rate(self, rates: KeyedRates[str], subject: str) -> None:
        if not rates.allow(subject, self._clock()):
            self._refusals.count("publishes_per_second_per_subject")
            raise RateLimited("the subject publishes more per second than it may")

    def _hand_over(self, publication: Publication, size: int) -> Receipt | asyncio.Future[Receipt]:
        handed_over = self._bus.publish(publication)
        # Not before: what the bus refuses at once was never accepted.
        self._accepted += 1
        self._bytes += size
        receipt = Receipt(publication.id)
        return receipt if handed_over is None else _after(handed_over, receipt)

    def _submit_once(
        self, command: Publish, publication: Publication, subject: str | None, size: int
    ) -> Receipt | asyncio.Future[Receipt]:
        dedupe = _dedupe(command, subject)
        # A digest: what is remembered must not be as long as publishers like.
        key = hashlib.blake2b(dedupe.key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        fingerprint = dedupe.fingerprint
        try:
            first = self._answers.reserve(key, fingerprint, now=self._clock(), owner=subject)
        except RateLimited:
            self._refusals.count("idempotency_entries")
            raise
        if first is not None:
            self._repeated += 1
            return first
        try:
            receipt = self._hand_over(publication, size)
        except BaseException:
            # The publisher is told that it failed, so its repeat must be allowed to be the first.
            self._answers.release(key)
            raise
        if isinstance(receipt, Receipt):
            self._answers.remember(key, fingerprint, receipt, now=self._clock())
        else:
            receipt.add_done_callback(lambda done: self._complete(key, fingerprint, done))
        return receipt

    def _complete(self, key: bytes, fingerprint: bytes, done: asyncio.Future[Receipt]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._answers.release(key)
        else:
            self._answers.remember(key, fingerprint, done.result(), now=self._clock())


def _after(done: asyncio.Future[None], receipt: Receipt) -> asyncio.Future[Receipt]:
    answer: asyncio.Future[Receipt] = done.get_loop().create_future()

    def resolve(future: asyncio.Future[None]) -> None:
        # Who awaited it may have been cancelled, and the future with it.
        if answer.done():
            return
        if future.cancelled():
            answer.cancel()
        elif error := future.exception():
            answer.set_exception(error)
        else:
            answer.set_result(receipt)

    done.add_done_callback(resolve)
    return answer


def _pass_on(done: asyncio.Future[Receipt], answer: asyncio.Future[Receipt]) -> None:
    """Give ``answer`` what ``done`` has, if anybody still waits for it."""
    error = None if done.cancelled() else done.exception()
    if answer.done():
        return
    if done.cancelled():
        answer.cancel()
    elif error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


def _dedupe(
    command: Publish, subject: str | None, seconds: float | None = None, fingerprint: bytes | None = None
) -> Dedupe:
    # The subject's length keeps two of them from sharing a key, whatever both are made of.
    publisher = "" if subject is None else f"{len(subject)}:{subject}"
    same = _fingerprint(command) if fingerprint is None else fingerprint
    return Dedupe(f"{publisher}/{command.idempotency_key}", same, seconds)


def _fingerprint(command: Publish) -> bytes:
    digest = hashlib.sha256(command.topic.encode())
    digest.update(b"\0" if command.data is not None else b"\2" if command.deleted else b"\1")
    digest.update(command.data if command.data is not None else command.binary or b"")
    return digest.digest()
