"""One stream as this node knows it: its keys, what was last seen of its log, and the way to its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.streams.redis.append_signal import AppendSignal
from gateway.streams.redis.refusals import StoreRefusals
from gateway.streams.redis.scripts import Keys, head_of

if TYPE_CHECKING:
    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.redis.wire import Reply
    from gateway.streams.redis.link import CallLink
    from gateway.streams.redis.listening import AppendListener
    from gateway.streams.redis.scripts import LogHead


class RedisLog:
    """A stream's log in Redis.

    What was seen comes from the store's own answers alone; what a client says never gets here.

    Attributes:
        keys: the names of what it is made of.
        signal: notifies when there may be something new.
        appending: the connection by which to append; None while it isn't known which server has the log.
        reading: the same for reading.
        listening: the same for hearing of appends.
        epoch: the last epoch seen; empty before the first answer.
        offset: the highest offset seen in it.
        header: of the publication with that offset, by which it is told from any other.
        raised: times that an answer told of an epoch begun for what this node knew.
        appends: what Redis refuses of them.
        reads: the same of reads and looks.
        tending: the same of what looks after the index of topics.
        consuming: the same of what groups do.
        full: an append was refused since groups keep what they haven't finished.
    """

    __slots__ = (
        "appending",
        "appends",
        "configuration",
        "consuming",
        "epoch",
        "full",
        "header",
        "keys",
        "listening",
        "offset",
        "raised",
        "reading",
        "reads",
        "signal",
        "tending",
    )

    def __init__(self, configuration: StreamConfiguration, prefix: str, database: int = 0) -> None:
        self.configuration = configuration
        self.keys = Keys(prefix, configuration.name, database)
        self.signal = AppendSignal()
        self.appending: CallLink | None = None
        self.reading: CallLink | None = None
        self.listening: AppendListener | None = None
        self.epoch = ""
        self.offset = 0
        self.header = b""
        self.raised = 0
        self.full = False
        self.appends = StoreRefusals(f"appending to stream {configuration.name!r}")
        self.reads = StoreRefusals(f"reading stream {configuration.name!r}")
        self.consuming = StoreRefusals(f"working stream {configuration.name!r} off")
        self.tending = StoreRefusals(f"indexing the topics of stream {configuration.name!r}")

    @property
    def name(self) -> str:
        """The stream's."""
        return self.configuration.name

    @property
    def available(self) -> bool:
        """It can be appended to and read: its server is there, has told of it, and refuses neither."""
        appending, reading = self.appending, self.reading
        connected = appending is not None and appending.up and reading is not None and reading.up
        return connected and bool(self.epoch) and not self.appends.lasting and not self.reads.lasting

    def route(
        self, appending: CallLink | None, reading: CallLink | None, listening: AppendListener | None
    ) -> None:
        """Go by these connections from now on."""
        if self.listening is not listening:
            # Whoever waits was listened for by the old connection, and asks the new one only when it wakes
            # up.
            if self.listening is not None:
                self.listening.release(self.keys.channel)
            self.signal.notify()
        self.appending, self.reading, self.listening = appending, reading, listening

    def announced(self) -> bool:
        """Whether this node hears of its appends; if not, that is asked for."""
        return self.listening is not None and self.listening.announces(self.keys.channel, self.signal)

    def note(self, reply: Reply) -> LogHead:
        """Remember what a script's answer says of the log, and wake those who wait for it."""
        head = head_of(reply)
        bounds = head.bounds
        self.raised += head.raised
        # Answers of two connections may pass each other: an older one takes nothing back.
        if bounds.epoch != self.epoch or bounds.last >= self.offset:
            self.epoch, self.offset, self.header = bounds.epoch, bounds.last, head.header
        self.signal.note_end(bounds.epoch, bounds.last)
        return head
