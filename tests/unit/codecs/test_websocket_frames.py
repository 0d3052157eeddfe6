from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from gateway.codecs.websocket_frames import BINARY, TEXT, iter_payloads, server_frame

SIZES = (0, 1, 125, 126, 127, 0xFFFF, 0x10000, 0x10001)


def parsed(frame: bytes) -> Frame:
    """The frame as the websockets library reads it, which must find nothing left over."""
    reader = StreamReader()
    reader.feed_data(frame)
    reader.feed_eof()
    parser = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parser)
    assert not reader.buffer
    return done.value.value


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_an_independent_parser_reads_every_length_form(size, opcode):
    frame = parsed(server_frame(b"x" * size, opcode))
    assert (frame.fin, frame.opcode, bytes(frame.data)) == (True, opcode, b"x" * size)


@pytest.mark.parametrize(("size", "head"), [(125, 2), (126, 4), (0xFFFF, 4), (0x10000, 10)])
def test_the_shortest_length_form_is_used(size, head):
    assert len(server_frame(b"x" * size)) == head + size


@given(st.lists(st.binary(max_size=300) | st.sampled_from([b"x" * size for size in SIZES]), max_size=8))
def test_joined_frames_split_into_their_payloads(payloads):
    assert list(iter_payloads(b"".join(map(server_frame, payloads)))) == payloads


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_frame_cut_short_is_an_error(size):
    frame = server_frame(b"x" * size)
    for end in {1, 2, 3, 9, len(frame) - 1}:
        with pytest.raises(ValueError, match="beyond"):
            list(iter_payloads(frame[: min(end, len(frame) - 1)]))
