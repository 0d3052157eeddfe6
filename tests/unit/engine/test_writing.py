"""Whatever way a turn's frames go, each connection gets its own in order, or is ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.encoder import Encoder
from gateway.engine import writing
from gateway.engine.writing import write_each, write_together

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = writing._FEW
PIECE_BYTES = 64


class Transport:
    """A connection's way out: a socket with some room, and what waits before it."""

    def __init__(self, *, room: int = 10_000, buffered: bytes = b"") -> None:
        self.room = room
        self.buffered = buffered
        self.socket = b""
        self.calls = 0
        self.closed: int | None = None

    def get_write_buffer_size(self) -> int:
        return len(self.buffered)

    def take(self, piece: bytes) -> int:
        taken = piece[: self.room]
        self.socket += taken
        self.room -= len(taken)
        return len(taken)

    def write(self, frames: bytes) -> None:
        assert frames
        self.calls += 1
        self.buffered += frames
        self.buffered = self.buffered[self.take(self.buffered) :]

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    @property
    def all(self) -> bytes:
        return self.socket + self.buffered


class Broken(Transport):
    def write(self, frames: bytes) -> None:
        raise RuntimeError("the handler is closed")


@dataclass
class Sockets:
    """Sends to the sockets of transports, by their place."""

    transports: list[Transport]
    piece_bytes: int = PIECE_BYTES
    sends: list[list[int]] = field(default_factory=list)

    def send(self, descriptors: list[int], pieces: list[bytes]) -> Sequence[int] | None:
        assert max(map(len, pieces)) <= self.piece_bytes
        self.sends.append(descriptors)
        taken = [self.transports[place].take(piece) for place, piece in zip(descriptors, pieces, strict=True)]
        return None if taken == list(map(len, pieces)) else taken


class Unknown(Sockets):
    def send(self, descriptors: list[int], pieces: list[bytes]) -> Sequence[int] | None:
        raise OSError("nobody knows")


def connect(transports: list[Transport], *, sinks_alone: frozenset[int] = frozenset()) -> list[Outbox]:
    encoder: Encoder = None  # type: ignore[assignment]  # nothing is encoded here
    outboxes = []
    for place, transport in enumerate(transports):
        outbox = Outbox(transport, encoder, OutboxLimits())
        if place not in sinks_alone:
            outbox.transport, outbox.descriptor = transport, place
        outboxes.append(outbox)
    return outboxes


CONNECTIONS = st.lists(
    st.tuples(
        st.integers(0, 100),  # room of its socket
        st.binary(max_size=5),  # buffered already
        st.booleans(),  # a sink alone
        st.lists(st.binary(min_size=1, max_size=PIECE_BYTES), max_size=3),  # its frames
        st.booleans(),  # blocked since it was touched
        st.booleans(),  # twice in the turn
    ),
    max_size=3 * FEW,
)


@given(CONNECTIONS)
def test_each_connection_gets_what_it_would_get_by_itself(
    connections: list[tuple[int, bytes, bool, list[bytes], bool, bool]],
) -> None:
    seen = []
    for together in (False, True):
        transports = [Transport(room=each[0], buffered=each[1]) for each in connections]
        alone = frozenset(place for place, each in enumerate(connections) if each[2])
        outboxes = connect(transports, sinks_alone=alone)
        turn = []
        for outbox, each in zip(outboxes, connections, strict=True):
            for piece in each[3]:
                outbox.append(piece)
            outbox.direct = not each[4]
            turn += [outbox, outbox] if each[5] else [outbox]
        if together:
            write_together(turn, Sockets(transports))
        else:
            write_each(turn)
        # A transport holds back what waits before: none of a socket's room was lost or taken twice.
        seen.append(
            [
                (transport.all, transport.room, outbox.waiting_bytes)
                for transport, outbox in zip(transports, outboxes, strict=True)
            ]
        )
    assert seen[0] == seen[1]


def pending(outboxes: list[Outbox], frames: bytes = b"frames") -> list[Outbox]:
    for outbox in outboxes:
        outbox.append(frames)
    return outboxes


def test_sockets_that_take_all_need_no_sink() -> None:
    transports = [Transport() for _ in range(FEW)]
    sockets = Sockets(transports)
    write_together(pending(connect(transports)), sockets)
    assert sockets.sends == [list(range(FEW))]
    assert [(each.socket, each.calls) for each in transports] == [(b"frames", 0)] * FEW


def test_what_a_socket_did_not_take_is_its_transport_s() -> None:
    transports = [Transport(room=place) for place in range(FEW)]
    write_together(pending(connect(transports)), Sockets(transports))
    assert [each.socket + b"|" + each.buffered for each in transports[:4]] == [
        b"|frames",
        b"f|rames",
        b"fr|ames",
        b"fra|mes",
    ]
    assert [each.calls for each in transports] == [1] * 6 + [0] * (FEW - 6)


@pytest.mark.parametrize(
    "kind", [Transport(buffered=b"earlier "), Transport(room=0, buffered=b"a"), "sink", "large"]
)
def test_only_a_socket_that_may_be_next_is_sent_to(kind: Transport | str) -> None:
    other = kind if isinstance(kind, Transport) else Transport()
    transports = [Transport() for _ in range(FEW)] + [other]
    sockets = Sockets(transports)
    outboxes = pending(connect(transports, sinks_alone=frozenset({FEW} if kind == "sink" else ())))
    if kind == "large":
        outboxes[FEW].append(bytes(PIECE_BYTES))
    write_together(outboxes, sockets)
    assert sockets.sends == [list(range(FEW))]
    assert other.calls == 1


def test_few_are_written_one_by_one() -> None:
    transports = [Transport() for _ in range(FEW + 5)]
    sockets = Sockets(transports)
    write_together(pending(connect(transports[: FEW - 1])), sockets)
    alone = frozenset(range(FEW - 1, FEW + 5))
    write_together(pending(connect(transports, sinks_alone=alone)), sockets)
    assert sockets.sends == []
    assert {each.socket for each in transports[: FEW - 1]} == {b"frames" * 2}


def test_nothing_that_a_sink_s_write_leads_to_comes_between_a_look_and_its_send() -> None:
    """A write that calls back may close others: they have their frames by then, and nothing comes after."""
    transports = [Transport() for _ in range(FEW + 1)]
    outboxes = connect(transports, sinks_alone=frozenset({0}))

    class Closing(Transport):
        def write(self, frames: bytes) -> None:
            for outbox, transport in zip(outboxes[1:], transports[1:], strict=True):
                transport.socket += b" closed"
                outbox.transport = None
                outbox.write = bytes
                outbox.close()

    outboxes[0].write = Closing().write
    write_together(pending(outboxes), Sockets(transports))
    assert [each.socket for each in transports[1:]] == [b"frames closed"] * FEW


def test_a_rest_is_written_by_what_writing_has_become() -> None:
    transports = [Transport(room=2) for _ in range(FEW)]
    outboxes = connect(transports)
    discarded: list[bytes] = []

    class Closing(Transport):
        def write(self, frames: bytes) -> None:
            outboxes[1].write = discarded.append

    outboxes[0].write = Closing().write
    write_together(pending(outboxes), Sockets(transports))
    assert discarded == [b"ames"]
    assert transports[1].all == b"fr"


def test_one_whose_rest_can_t_be_written_is_ended_and_no_other() -> None:
    transports = [Broken(room=1) if place == 3 else Transport(room=1) for place in range(FEW)]
    write_together(pending(connect(transports)), Sockets(transports))
    assert [each.closed for each in transports] == [1011 if place == 3 else None for place in range(FEW)]
    assert [each.all for each in transports if each.closed is None] == [b"frames"] * (FEW - 1)


def test_those_of_whom_nobody_knows_what_was_sent_are_ended() -> None:
    transports = [Transport() for _ in range(FEW + 2)]
    outboxes = pending(connect(transports, sinks_alone=frozenset({0, 1})))
    write_together(outboxes, Unknown(transports))
    assert [each.closed for each in transports] == [None, None] + [1011] * FEW
    assert [each.all for each in transports[:2]] == [b"frames"] * 2
