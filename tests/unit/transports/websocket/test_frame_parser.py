from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol
from websockets.speedups import apply_mask

from gateway.transports.websocket.closing import FrameFailure, close_code_and_reason, close_payload
from gateway.transports.websocket.frame_parser import (
    BINARY,
    CLOSE,
    CONTINUATION,
    EVENTS_AT_ONCE,
    PING,
    PONG,
    TEXT,
    ClientFrames,
    FrameLimits,
)

LIMITS = FrameLimits(1000)
MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes((size | 0x80 * masked,))
    elif size < 0x10000:
        length = bytes((126 | 0x80 * masked,)) + size.to_bytes(2, "big")
    else:
        length = bytes((127 | 0x80 * masked,)) + size.to_bytes(8, "big")
    head = bytes((0x80 * fin | rsv << 4 | opcode,)) + length
    return head + MASK + apply_mask(payload, MASK) if masked else head + payload


def parse(
    data: bytes, limits: FrameLimits = LIMITS, *, chunk: int | None = None
) -> tuple[list, ClientFrames]:
    frames = ClientFrames(limits)
    events: list = []
    step = chunk or max(len(data), 1)
    for start in range(0, len(data), step):
        events += frames.feed(data[start : start + step])
        while frames.backlog:
            events += frames.feed(b"")
    return events, frames


def code_of(data: bytes, limits: FrameLimits = LIMITS) -> int | None:
    failure = parse(data, limits)[1].failure
    return None if failure is None else failure.code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 999, 1000, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_of_any_length_form_arrives(opcode: int, size: int) -> None:
    payload = b"x" * size

    events, frames = parse(frame(opcode, payload), FrameLimits(70000))

    assert events == [(opcode, payload)]
    assert frames.failure is None
    assert not frames.unfinished


def test_control_frames_arrive_between_the_fragments_of_a_message() -> None:
    data = frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"b", fin=False)
    data += frame(PONG) + frame(CONTINUATION, b"c")

    assert parse(data)[0] == [(PING, b"p"), (PONG, b""), (TEXT, b"abc")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(PING, masked=False), 1002),
        *((frame(TEXT, b"x", rsv=rsv), 1002) for rsv in range(1, 8)),
        *((frame(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (frame(PING, b"x", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"x" * 126), 1002),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False), 1002),
        (b"\x82\xfe\x00\x7d" + MASK, 1002),
        (b"\x82\xff" + (0xFFFF).to_bytes(8, "big") + MASK, 1002),
        (b"\x82\xff" + (1 << 63).to_bytes(8, "big") + MASK, 1002),
        (frame(CLOSE, b"\x03"), 1002),
        *((frame(CLOSE, code.to_bytes(2, "big")), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016)),
        *((frame(CLOSE, code.to_bytes(2, "big")), 1002) for code in (1100, 2000, 2999, 5000, 65535)),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xff" * 200), 1007),
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUATION, b"x"), 1007),
        (frame(BINARY, b"x" * 1001), 1009),
        (frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401), 1009),
    ],
)
def test_a_violation_fails_with_its_code_after_what_was_complete(data: bytes, code: int) -> None:
    before = frame(BINARY, b"before")

    events, frames = parse(before + data + frame(BINARY, b"behind"))

    assert events == [(BINARY, b"before")]
    assert frames.failure is not None
    assert frames.failure.code == code
    assert frames.feed(before) == ()


def test_text_may_be_left_for_the_receiver_to_refuse() -> None:
    limits = FrameLimits(1000, refuse_invalid_text=False)

    assert parse(frame(TEXT, b"\xff") + frame(TEXT, b"\xff" * 200), limits)[1].failure is None


def test_text_split_inside_a_character_is_valid() -> None:
    data = frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82", fin=False)

    assert parse(data + frame(CONTINUATION, b"\xac"))[0] == [(TEXT, "€".encode())]


def test_a_declared_length_is_refused_before_anything_of_it_is_kept() -> None:
    frames = ClientFrames(LIMITS)

    frames.feed(b"\x82\xff" + (1 << 40).to_bytes(8, "big"))

    assert frames.failure is not None
    assert frames.failure.code == 1009
    assert not frames.unfinished


def test_empty_fragments_are_bounded() -> None:
    data = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 1023

    assert code_of(data) is None
    assert code_of(data + frame(CONTINUATION, fin=False)) == 1008


def test_a_large_message_may_have_many_small_fragments() -> None:
    data = frame(BINARY, b"x" * 64, fin=False) + frame(CONTINUATION, b"x" * 64, fin=False) * 10_000

    assert code_of(data + frame(CONTINUATION), FrameLimits(1 << 20)) is None


def test_one_feed_makes_a_bounded_number_of_events() -> None:
    frames = ClientFrames(LIMITS)
    data = frame(PING) * (2 * EVENTS_AT_ONCE + 1)

    sizes = [len(frames.feed(data))]
    while frames.backlog:
        sizes.append(len(frames.feed(b"")))

    assert sizes == [EVENTS_AT_ONCE, EVENTS_AT_ONCE, 1]
    assert frames.feed(b"") == []


def test_nothing_behind_a_close_frame_is_looked_at() -> None:
    events, frames = parse(frame(CLOSE, b"\x03\xe8bye") + frame(TEXT, b"x") + b"\xff\xff")

    assert events == [(CLOSE, b"\x03\xe8bye")]
    assert frames.failure is None
    assert not frames.unfinished
    assert frames.feed(frame(TEXT, b"x")) == ()


@pytest.mark.parametrize("end", range(1, len(frame(TEXT, b"x" * 200))))
def test_it_knows_that_a_frame_has_begun(end: int) -> None:
    frames = ClientFrames(LIMITS)

    frames.feed(frame(TEXT, b"x" * 200)[:end])

    assert frames.unfinished
    assert not frames.backlog


def test_a_limit_below_a_short_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 125"):
        FrameLimits(124)


def test_a_failure_keeps_nothing_of_the_bytes_alive() -> None:
    failure = parse(frame(TEXT, b"\xff"))[1].failure

    assert failure is not None
    assert failure.__traceback__ is None
    assert failure.__context__ is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE, 3]),
            st.binary(max_size=200) | st.text(max_size=60).map(str.encode),
            st.booleans(),
            st.sampled_from([0, 0, 0, 0, 0, 0, 4]),
        ),
        max_size=12,
    ),
    st.integers(1, 40),
)
def test_any_chunking_gives_the_same_events(parts: list, chunk: int) -> None:
    data = b"".join(frame(op, payload, fin=fin, rsv=rsv) for op, payload, fin, rsv in parts)

    whole_events, whole = parse(data)
    events, frames = parse(data, chunk=chunk)

    assert events == whole_events
    assert frames.unfinished == whole.unfinished
    one, other = whole.failure, frames.failure
    assert (one and (one.code, one.reason)) == (other and (other.code, other.reason))


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_are_parsed_or_refused(data: bytes, chunk: int) -> None:
    events, frames = parse(data, chunk=chunk)

    assert events == parse(data)[0]
    assert frames.failure is None or frames.failure.code in (1002, 1007, 1008, 1009)


message = st.tuples(st.just(TEXT), st.text(max_size=400).map(str.encode)) | st.tuples(
    st.just(BINARY), st.binary(max_size=70_000)
)


@given(st.lists(message | st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=8))
def test_what_the_websockets_library_sends_arrives(sent: list) -> None:
    client = Protocol(CLIENT, state=OPEN)
    for opcode, payload in sent:
        if opcode == TEXT and len(payload) > 3:
            client.send_text(payload[:3], fin=False)
            client.send_ping(b"between")
            client.send_continuation(payload[3:], fin=True)
        else:
            client.send_frame(Frame(Opcode(opcode), payload))
    client.send_close(1000, "bye")

    events, frames = parse(b"".join(client.data_to_send()), FrameLimits(70_000))

    assert frames.failure is None
    assert [event for event in events if event != (PING, b"between")] == [
        *(event for event in sent if event != (PING, b"between")),
        (CLOSE, Close(1000, "bye").serialize()),
    ]


@given(st.sampled_from([1000, 1001, 1008, 1011, 3000, 4408, 4999]), st.text(max_size=80))
def test_a_close_payload_is_read_as_written(code: int, reason: str) -> None:
    payload = close_payload(code, reason)

    assert len(payload) <= 125
    read_code, read_reason = close_code_and_reason(payload)
    assert read_code == code
    assert reason.startswith(read_reason)
    assert read_reason == reason or len(reason.encode()) > 120


def test_no_status_has_no_payload() -> None:
    assert close_payload(1005, "") == b""
    assert close_code_and_reason(b"") == (1005, "")
    with pytest.raises(FrameFailure):
        close_code_and_reason(b"\x03")
