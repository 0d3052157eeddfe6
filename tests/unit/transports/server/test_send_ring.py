from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transports.server import send_ring
from gateway.transports.server.send_ring import PIECE_BYTES, SendRing

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def ring() -> Iterator[SendRing]:
    try:
        ring = SendRing()
    except OSError as error:
        # Nothing that can be installed would change it: what is left is tested where it is allowed.
        pytest.skip(f"io_uring can't be had: {error}")
    yield ring
    ring.close()


class Pair:
    """A socket to send on, and its peer, which hears."""

    def __init__(self, stack: ExitStack, *, sending_buffer: int = 0) -> None:
        self.ours, self.theirs = (stack.enter_context(each) for each in socket.socketpair())
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        if sending_buffer:
            self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sending_buffer)

    @property
    def number(self) -> int:
        return self.ours.fileno()

    def heard(self) -> bytes:
        heard = b""
        try:
            while some := self.theirs.recv(1 << 20):
                heard += some
        except (BlockingIOError, ConnectionError):
            pass
        return heard


KINDS = st.sampled_from(["open", "small", "gone", "closed"])
LENGTHS = st.one_of(st.integers(1, 300), st.integers(1, PIECE_BYTES))


@given(st.lists(st.tuples(KINDS, LENGTHS), min_size=1, max_size=150), st.booleans())
def test_each_peer_hears_what_was_taken_and_the_rest_is_returned(
    ring: SendRing, sends: list[tuple[str, int]], same: bool
) -> None:
    with ExitStack() as stack:
        pairs = [Pair(stack, sending_buffer=4096 if kind == "small" else 0) for kind, _ in sends]
        pieces = [bytes([index % 256]) * length for index, (_, length) in enumerate(sends)]
        if same:
            pieces = [pieces[0]] * len(pieces)
        numbers = [pair.number for pair in pairs]
        # A descriptor that nothing is behind.
        unused = max(numbers) + 1000
        for place, (kind, _) in enumerate(sends):
            if kind == "gone":
                pairs[place].theirs.close()
            if kind == "closed":
                numbers[place] = unused
        taken = ring.send(numbers, pieces)
        assert taken is None or len(taken) == len(pieces)
        for place, (kind, _) in enumerate(sends):
            went = len(pieces[place]) if taken is None else taken[place]
            heard = b"" if kind == "gone" else pairs[place].heard()
            assert heard == (b"" if kind in {"gone", "closed"} else pieces[place][:went])
            assert went == len(heard)


def test_more_sends_than_the_ring_has_entries(ring: SendRing) -> None:
    before = ring.whole
    with ExitStack() as stack:
        pairs = [Pair(stack) for _ in range(400)]
        for turn in range(7):
            pieces = [b"%d,%d;" % (turn, place) for place in range(len(pairs))]
            assert ring.send([pair.number for pair in pairs], pieces) is None
        for place, pair in enumerate(pairs):
            assert pair.heard() == b"".join(b"%d,%d;" % (turn, place) for turn in range(7))
    assert ring.whole - before == 2800


def test_a_socket_that_is_full_takes_a_part_and_then_nothing(ring: SendRing) -> None:
    piece = bytes(range(256)) * (PIECE_BYTES // 256)
    # TCP: other sockets take a datagram's worth or nothing.
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        theirs = stack.enter_context(socket.create_connection(listener.getsockname()))
        ours = stack.enter_context(listener.accept()[0])
        ours.setblocking(False)
        returned = ring.returned
        sent, parts = 0, []
        while not parts or parts[-1]:
            taken = ring.send([ours.fileno()], [piece])
            parts.append(PIECE_BYTES if taken is None else taken[0])
            sent += parts[-1]
        assert ring.returned > returned
        theirs.settimeout(20)
        heard = 0
        while heard < sent:
            some = theirs.recv(min(65536, sent - heard))
            whole = piece * 5
            assert some == whole[heard % 256 : heard % 256 + len(some)]
            heard += len(some)


def test_a_call_that_fails_leaves_all_to_be_written_otherwise(
    ring: SendRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EAGAIN, "no memory for a request")

    with ExitStack() as stack:
        pairs = [Pair(stack) for _ in range(3)]
        numbers = [pair.number for pair in pairs]
        with monkeypatch.context() as patch:
            patch.setattr(ring, "_call", refuse)
            assert ring.send(numbers, [b"a", b"b", b"c"]) == [0, 0, 0]
        assert [pair.heard() for pair in pairs] == [b""] * 3
        assert ring.send(numbers, [b"d", b"e", b"f"]) is None
        assert [pair.heard() for pair in pairs] == [b"d", b"e", b"f"]


def test_what_a_call_leaves_in_the_queue_is_not_sent_later(
    ring: SendRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ring._call

    def two_alone(number: int, *arguments: Any) -> int:
        descriptor, _, *others = arguments
        return whole(number, descriptor, 2, *others)

    with ExitStack() as stack:
        pairs = [Pair(stack) for _ in range(5)]
        numbers = [pair.number for pair in pairs]
        with monkeypatch.context() as patch:
            patch.setattr(ring, "_call", two_alone)
            assert ring.send(numbers, [b"a", b"b", b"c", b"d", b"e"]) == [1, 1, 0, 0, 0]
        assert ring.send(numbers, [b"f"] * 5) is None
        assert [pair.heard() for pair in pairs] == [b"af", b"bf", b"f", b"f", b"f"]


def test_a_system_that_sends_later_is_waited_for_but_not_begun_with(ring: SendRing) -> None:
    """It would do so if each entry asked for it, in its flags."""
    made = SendRing()
    flags = made._entries[1 :: send_ring._ENTRY_BYTES]
    flags[:] = bytes([1 << 4]) * len(flags)
    with ExitStack() as stack:
        pairs = [Pair(stack) for _ in range(100)]
        for _ in range(20):
            # Its results come in any order.
            assert made.send([pair.number for pair in pairs], [b"x"] * 100) in (None, [1] * 100)
        assert [pair.heard() for pair in pairs] == [b"x" * 20] * 100
        made._tried = False
        with pytest.raises(OSError, match="at once"):
            made._wait(1)
    made.close()


def test_a_system_that_refuses_it_says_so() -> None:
    code = (
        "from tests.refused_calls import refuse_io_uring\n"
        "from gateway.transports.server.send_ring import SendRing\n"
        "refuse_io_uring()\n"
        "try:\n    SendRing()\nexcept PermissionError as error:\n    print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "Operation not permitted\n", done.stderr


def test_only_linux_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="only Linux"):
        SendRing()


def test_a_ring_that_is_closed_keeps_no_descriptor(ring: SendRing) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made = SendRing()
    made.close()
    made.close()
    del made
    assert len(os.listdir("/proc/self/fd")) == before
