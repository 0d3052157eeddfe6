"""A message as a publisher sends it, and a publication: the same once accepted, immutable, on its topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Reference: TypeAlias = str | int | None
"""A command's ``ref``, repeated in its reply."""


class Publish:
    """``publish``, over any door; treat it as frozen. One of ``data``, ``binary`` and ``deleted`` is set.

    A plain slotted class for the same reason as ``Publication``: one is made per message. Arguments are
    positional too where it is made for every message, since keywords double the cost of a call.

    Attributes:
        data: valid JSON text within the depth limit, to be embedded as it is.
        binary: a body that is neither JSON nor text.
        deleted: the topic's last value ends, and there is no body.
        delay: milliseconds that groups see it later than others do.
    """

    __slots__ = (
        "binary",
        "content_type",
        "data",
        "delay",
        "deleted",
        "headers",
        "id",
        "idempotency_key",
        "key",
        "ref",
        "topic",
    )

    def __init__(  # noqa: PLR0917 - see above
        self,
        topic: str,
        data: bytes | None = None,
        binary: bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        id: str | None = None,  # noqa: A002 - the wire's word
        idempotency_key: str | None = None,
        key: str | None = None,
        ref: Reference = None,
        deleted: bool = False,
        delay: int | None = None,
    ) -> None:
        self.topic = topic
        self.data = data
        self.binary = binary
        self.content_type = content_type
        self.headers = headers
        self.id = id
        self.idempotency_key = idempotency_key
        self.key = key
        self.ref = ref
        self.deleted = deleted
        self.delay = delay


# Here and not beside `Encoder`, which has the rest of a wire format: a publication keeps the frame that its
# encoder made of it, so each of the two is told by the other, and in two files they would import each other.
class MessageEncoder(Protocol):
    """One wire format's way to write a publication; all that a publication and the bus need of it."""

    def encode_message(self, publication: Publication) -> bytes:
        """Return the frame that carries ``publication`` to every live subscriber of this format."""
        ...


class Publication:
    """A message as accepted by the gateway; treat it as frozen.

    A plain slotted class: a frozen dataclass pays a microsecond for its ten fields, once per message; and
    keywords double the cost of a call, so the hot path gives arguments by position.

    Attributes:
        topic: the valid topic name.
        id: the publisher's label, or the one the gateway made.
        time: milliseconds since 1970, UTC.
        data: the body as valid JSON text, embedded in frames as it is; None for a binary body.
        binary: the body's bytes where it is neither JSON nor text; None otherwise.
        content_type: as the publisher stated it, or None.
        headers: the publisher's own, or None.
        key: for ordering in groups, or None.
        stream: the stream that captured it, or None on a live topic.
        offset: its number in that stream, from 1, or None.
        delay: milliseconds that groups see it later than it was stored, or None.
        deleted: it has neither data nor bytes, and ends its topic's last value.
    """

    __slots__ = (
        "_encoder",
        "_frame",
        "_others",
        "binary",
        "content_type",
        "data",
        "delay",
        "deleted",
        "headers",
        "id",
        "key",
        "offset",
        "stream",
        "time",
        "topic",
    )

    def __init__(  # noqa: PLR0917 - see above
        self,
        topic: str,
        id: str,  # noqa: A002 - the wire's word
        time: int,
        data: bytes | None = None,
        binary: bytes | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        stream: str | None = None,
        offset: int | None = None,
        deleted: bool = False,
        delay: int | None = None,
    ) -> None:
        self.topic = topic
        self.id = id
        self.time = time
        self.data = data
        self.binary = binary
        self.content_type = content_type
        self.headers = headers
        self.key = key
        self.stream = stream
        self.offset = offset
        self.deleted = deleted
        self.delay = delay
        self._encoder: MessageEncoder | None = None
        self._frame = b""
        self._others: dict[MessageEncoder, bytes] | None = None

    def frame(self, encoder: MessageEncoder) -> bytes:
        """The publication in ``encoder``'s wire format; encoded once, then shared by all subscribers."""
        if self._encoder is encoder:
            return self._frame
        if self._encoder is None:
            self._encoder = encoder
            self._frame = encoder.encode_message(self)
            return self._frame
        return self._frame_of_another(encoder)

    def whole(self) -> Publication:
        """Itself, with nothing that is still to be read: ask for it where compiled code may meet any."""
        return self

    def body_bytes(self) -> int:
        """About how long the body is."""
        return len(self.data or self.binary or b"")

    def _frame_of_another(self, encoder: MessageEncoder) -> bytes:
        # Nearly all publications go out in one format: only the second one pays for a dictionary.
        if self._others is None:
            self._others = {}
        frame = self._others.get(encoder)
        if frame is None:
            frame = self._others[encoder] = encoder.encode_message(self)
        return frame

    def __repr__(self) -> str:
        return f"Publication(topic={self.topic!r}, id={self.id!r})"


class FramedPublication(Publication):
    """A publication that came from another node with its frame; subscribers of that format share it as it is.

    What the frame says besides the topic is read only when something asks for it, another wire format for
    instance: then the slots that are still empty are filled. Code that was compiled looks into slots without
    ``__getattr__``, so it takes the ``whole`` before it looks.
    """

    __slots__ = ("_read",)

    def __init__(
        self,
        topic: str,
        frame: bytes,
        encoder: MessageEncoder,
        read: Callable[[bytes], Publication],
        *,
        data: bytes | None,
    ) -> None:
        """Take ``frame``, in ``encoder``'s format; ``read`` understands it; ``data`` is a JSON body in it."""
        self.topic = topic
        self._encoder = encoder
        self._frame = frame
        self._others = None
        self._read: Callable[[bytes], Publication] | None = read
        if data is not None:
            self.data = data
            self.binary = None

    def __getattr__(self, name: str) -> object:
        """Called for what isn't there yet."""
        if name not in _READ_LATER:
            raise AttributeError(name)
        return getattr(self.whole(), name)

    def whole(self) -> Publication:
        """See ``Publication``."""
        if self._read is not None:
            whole = self._read(self._frame)
            for each in _READ_LATER:
                setattr(self, each, getattr(whole, each))
            self._read = None
        return self

    def body_bytes(self) -> int:
        """See ``Publication``; the frame's length, which needs no reading."""
        return len(self._frame)

    def _frame_of_another(self, encoder: MessageEncoder) -> bytes:
        self.whole()
        return super()._frame_of_another(encoder)


# Written out a second time: a compiled class has no ``__slots__`` that could be asked.
_READ_LATER = frozenset(
    (
        "binary",
        "content_type",
        "data",
        "delay",
        "deleted",
        "headers",
        "id",
        "key",
        "offset",
        "stream",
        "time",
    )
)
