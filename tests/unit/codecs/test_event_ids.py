from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.event_ids import LONGEST_ID, decode_event_id, encode_event_id, largest_id
from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import Position

NAMES = st.text("abcXYZ019._-", min_size=1, max_size=64)
EPOCHS = st.text("0123456789abcdef", min_size=1, max_size=32)
POSITIONS = st.dictionaries(NAMES, st.builds(Position, EPOCHS, st.integers(0, 2**53 - 1)), max_size=4)
FILTERS = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())


def point(shared: dict[str, Position], apart: dict[str, dict[str, Position]]) -> ResumePoint:
    made = ResumePoint()
    made.shared, made.apart = shared, {each: its for each, its in apart.items() if its}
    return made


@given(st.builds(point, POSITIONS, st.dictionaries(FILTERS, POSITIONS, max_size=3)))
def test_an_id_says_the_same_when_it_comes_back(before: ResumePoint) -> None:
    text = encode_event_id(before)
    assert all(0x20 < byte < 0x7F for byte in text)
    if before.shared or before.apart:
        after = decode_event_id(text.decode())
        assert after is not None
        assert (after.shared, after.apart) == (before.shared, before.apart)
    else:
        assert text == b""


@given(st.dictionaries(FILTERS, st.sets(NAMES, max_size=4), min_size=1, max_size=3), st.data())
def test_no_id_is_longer_than_foreseen(met: dict[str, set[str]], data: st.DataObject) -> None:
    positions = st.builds(Position, EPOCHS, st.integers(0, 2**53 - 1))
    every = {name for names in met.values() for name in names}
    shared = {name: data.draw(positions) for name in every}
    apart = {each: {name: data.draw(positions) for name in names} for each, names in met.items()}
    size = len(encode_event_id(point(shared, apart)))
    assert size <= largest_id({each: tuple(names) for each, names in met.items()})


@given(st.text(max_size=200) | st.text("1!:,=%s0a", max_size=40))
def test_whatever_comes_back_is_read_or_not_but_never_fails(text: str) -> None:
    found = decode_event_id(text)
    if found is not None and (found.shared or found.apart):
        again = decode_event_id(encode_event_id(found).decode())
        assert again is not None
        assert (again.shared, again.apart) == (found.shared, found.apart)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "2!s:e:1",
        "1",
        "1!s:e",
        "1!s:e:-1",
        "1!s:e:1,",
        "1!s:e:1,s:e:2",
        "1!s:e:9007199254740992",
        "1!s:e:99999999999999999999",
        "1!s/t:e:1",
        "1!s:e:1!a",
        "1!s:e:1!a=",
        "1!s:e:1!a=s:e:1!a=s:e:1",
        "1!s:e:1!%FF=s:e:1",
        "1!s:%FF:1",
        "1!" + ",".join(f"stream-{number}:epoch:1" for number in range(LONGEST_ID // 16)),
    ],
)
def test_what_is_no_id_of_ours_is_refused(text: str) -> None:
    assert decode_event_id(text) is None


def test_the_longest_filter_that_an_id_has_room_for_comes_back() -> None:
    before = point({}, {"é" * 1300: {"s": Position("e", 1)}})
    text = encode_event_id(before)
    assert len(text) <= LONGEST_ID
    after = decode_event_id(text.decode())
    assert after is not None
    assert after.apart == before.apart
