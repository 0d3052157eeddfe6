"""A publication is encoded once per wire format, whoever asks in what order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.gateway_v1 import encode_object
from gateway.core.messages.publication import FramedPublication, Publication
from tests.unit.codecs.strategies import publications, state


class Format:
    """A wire format that counts how often it is used."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.encoded = 0

    def encode_message(self, publication: Publication) -> bytes:
        self.encoded += 1
        return self.name + b":" + publication.id.encode()


@given(st.lists(st.integers(0, 3), max_size=30))
def test_each_format_encodes_once_and_gets_its_own_frame(asked: list[int]) -> None:
    formats = [Format(b"%d" % number) for number in range(4)]
    publication = Publication("t", "m1", 0, b"1")
    frames = [publication.frame(formats[number]) for number in asked]
    assert frames == [b"%d:m1" % number for number in asked]
    assert [each.encoded for each in formats] == [int(number in asked) for number in range(4)]
    for frame, number in zip(frames, asked, strict=True):
        assert publication.frame(formats[number]) is frame, "subscribers share the bytes"


def test_a_publication_shows_no_body() -> None:
    assert "secret" not in repr(Publication("t", "m1", 0, b'"secret"'))


class Elsewhere:
    """What a publication from another node says, and how often it was read."""

    def __init__(self, whole: Publication) -> None:
        self.whole = whole
        self.reads = 0
        self.format = Format(b"f")

    def framed(self, *, data: bytes | None = None) -> FramedPublication:
        return FramedPublication(self.whole.topic, b"frame", self.format, self.read, data=data)

    def read(self, frame: bytes) -> Publication:
        assert frame == b"frame"
        self.reads += 1
        return self.whole


@given(publications)
def test_a_frame_from_another_node_says_the_same_once_it_is_read(whole: Publication) -> None:
    elsewhere = Elsewhere(whole)
    framed = elsewhere.framed(data=whole.data)
    assert {name: getattr(framed, name) for name in state(whole)} == state(whole)
    assert elsewhere.reads == 1


def test_a_frame_from_another_node_is_passed_on_unread() -> None:
    elsewhere = Elsewhere(Publication("t", "m1", 5, b"1"))
    framed = elsewhere.framed(data=b"1")
    assert framed.frame(elsewhere.format) == b"frame"
    assert (framed.topic, framed.data, framed.binary) == ("t", b"1", None)
    assert (elsewhere.reads, elsewhere.format.encoded) == (0, 0)


def test_another_format_reads_the_frame_once() -> None:
    elsewhere, other = Elsewhere(Publication("t", "m1", 5, b"1")), Format(b"other")
    framed = elsewhere.framed()
    assert framed.frame(other) == framed.frame(other) == b"other:m1"
    assert framed.frame(elsewhere.format) == b"frame"
    assert (elsewhere.reads, other.encoded) == (1, 1)


@given(publications)
def test_the_whole_is_the_same_with_nothing_left_to_read(whole: Publication) -> None:
    elsewhere = Elsewhere(whole)
    framed = elsewhere.framed()
    assert framed.body_bytes() == len(b"frame")
    assert elsewhere.reads == 0
    assert framed.whole() is framed.whole() is framed
    assert encode_object(framed) == encode_object(whole)
    assert {name: getattr(framed, name) for name in state(whole)} == state(whole)
    assert elsewhere.reads == 1


def test_a_publication_made_here_is_whole() -> None:
    made = Publication("t", "m1", 5, b"12")
    assert (made.whole() is made, made.body_bytes()) == (True, 2)
    assert Publication("t", "m1", 5, None, b"123").body_bytes() == 3
    assert Publication("t", "m1", 5, deleted=True).body_bytes() == 0


def test_what_no_publication_has_is_not_looked_for_in_the_frame() -> None:
    elsewhere = Elsewhere(Publication("t", "m1", 5, b"1"))
    with pytest.raises(AttributeError):
        _ = elsewhere.framed().anything_else  # type: ignore[attr-defined]
    assert elsewhere.reads == 0
