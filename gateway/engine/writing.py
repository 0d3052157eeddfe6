"""How the connections of one turn are written: each by its sink, or many sockets at once."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from gateway.core.session.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.fanout.outbox import Outbox

_FEW: Final = 16
"""Fewer writes than this cost less one by one."""

_log = logging.getLogger("gateway.delivery")


class BulkSender(Protocol):
    """Sends to many sockets at once.

    Attributes:
        piece_bytes: the most that one of them may be sent.
    """

    piece_bytes: int

    def send(self, descriptors: list[int], pieces: list[bytes]) -> Sequence[int] | None:
        """Send each of ``pieces`` on the socket of the same place in ``descriptors``; never waits.

        Returns:
            How many bytes of each were taken, or None if all were in whole.

        Raises:
            OSError: nobody knows what was sent.
        """
        ...


def write_each(outboxes: Sequence[Outbox]) -> None:
    """Write what is pending, each connection by its sink."""
    for outbox in outboxes:
        pending = outbox.pending
        # A connection that was blocked since it was touched is written when its transport takes again.
        if pending is not None and outbox.direct:
            # Before the write, which may call back that the connection is blocked.
            outbox.pending = None
            if isinstance(pending, list):
                pending = b"".join(pending)
            # Looked up, then called: the interpreter is slow to find a method that lies in a slot.
            write = outbox.write
            try:
                write(pending)
            except Exception:  # noqa: BLE001 - the others were taken to be written, and nobody would do it again
                _end(outbox)


def write_together(outboxes: Sequence[Outbox], sender: BulkSender) -> None:
    """Write what is pending: at once where sockets can be sent to, and by their sinks what is left of it.

    What a socket doesn't take goes to its sink, which then does what it does with any write: buffers it, says
    that it is full, or finds out that the peer has gone.
    """
    if len(outboxes) < _FEW:
        write_each(outboxes)
        return
    together: list[Outbox] = []
    descriptors: list[int] = []
    pieces: list[bytes] = []
    others: list[Outbox] = []
    most = sender.piece_bytes
    # Nothing is called here that could close a connection: the descriptors are still theirs when they are
    # used. So the others are written later.
    for outbox in outboxes:
        transport, pending = outbox.transport, outbox.pending
        if isinstance(pending, list):
            outbox.pending = pending = b"".join(pending)
        if transport is None or pending is None or len(pending) > most or transport.get_write_buffer_size():
            others.append(outbox)
        elif outbox.direct:
            # At once, as one that was written ahead of its turn may be among these twice.
            outbox.pending = None
            together.append(outbox)
            descriptors.append(outbox.descriptor)
            pieces.append(pending)
    _send(together, descriptors, pieces, sender)
    write_each(others)


def _send(outboxes: list[Outbox], descriptors: list[int], pieces: list[bytes], sender: BulkSender) -> None:
    taken: Sequence[int] | None = (0,) * len(outboxes)
    try:
        if len(outboxes) >= _FEW:
            taken = sender.send(descriptors, pieces)
    except OSError:
        for outbox in outboxes:
            _end(outbox)
    else:
        if taken is not None:
            _write_rest(outboxes, pieces, taken)


def _write_rest(outboxes: list[Outbox], pieces: list[bytes], taken: Sequence[int]) -> None:
    for outbox, piece, bytes_taken in zip(outboxes, pieces, taken, strict=True):
        if bytes_taken < len(piece):
            try:
                outbox.write(piece[bytes_taken:])
            except Exception:  # noqa: BLE001 - as above
                _end(outbox)


def _end(outbox: Outbox) -> None:
    _log.exception("a connection can't be written, and is ended")
    with suppress(Exception):
        outbox.sink.close(CloseCode.INTERNAL, CloseCode.INTERNAL.reason)
