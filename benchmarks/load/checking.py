"""Did every subscriber get every message, in order?

One recorded subscriber is parsed; the others must have got the same bytes, which their checksums tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from benchmarks import payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.load.crowd import Subscriber


def same_stream(subscribers: Sequence[Subscriber], sent: Sequence[int]) -> list[str]:
    """Check that all got the messages with the numbers ``sent``, in that order, and the same bytes."""
    problems = gone(subscribers)
    witness = next(subscriber for subscriber in subscribers if subscriber.recording is not None)
    assert witness.recording is not None
    if payload.numbers(witness.recording.stream) != list(sent):
        problems.append(f"the recorded subscriber did not get {len(sent)} messages in order")
    short = sum(subscriber.count != len(sent) for subscriber in subscribers)
    if short:
        problems.append(f"{short} subscribers did not get {len(sent)} messages")
    different = sum(subscriber.checksum != witness.checksum for subscriber in subscribers)
    if different:
        problems.append(f"{different} subscribers got other bytes than the recorded one")
    return problems


def own_streams(subscribers: Sequence[Subscriber], sent: Sequence[Sequence[int]]) -> list[str]:
    """Check, for recorded subscribers, that each got the messages of its own list, in order."""
    wrong = 0
    for subscriber, expected in zip(subscribers, sent, strict=True):
        assert subscriber.recording is not None
        wrong += payload.numbers(subscriber.recording.stream) != list(expected)
    return gone(subscribers) + ([f"{wrong} subscribers did not get their messages in order"] if wrong else [])


def parts_of_stream(
    subscribers: Sequence[Subscriber], witness: Subscriber, wanted: Sequence[Sequence[int]], *, suffix: int
) -> list[str]:
    """Check that each got, byte by byte, those of the witness's messages that ``wanted`` lists (from 0)."""
    assert witness.recording is not None
    stream = bytes(witness.recording.stream)
    ends = payload.ends(stream, suffix)
    frames = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    wrong = 0
    for subscriber, places in zip(subscribers, wanted, strict=True):
        checksum = 0
        for place in places:
            checksum = crc32(frames[place], checksum) if place < len(frames) else -1
        wrong += subscriber.checksum != checksum or subscriber.count != len(places)
    return gone(subscribers) + ([f"{wrong} subscribers did not get what they should"] if wrong else [])


def gone(subscribers: Sequence[Subscriber]) -> list[str]:
    """Check that nobody was disconnected."""
    lost = sum(subscriber.lost for subscriber in subscribers)
    return [f"{lost} connections were lost"] if lost else []
