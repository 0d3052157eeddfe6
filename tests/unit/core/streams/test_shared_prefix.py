"""Two lives of a log: where they part is found by what a window holds, and nobody gets anything twice."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catchup.readers import HistoryReader, Reader
from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import Bounds
from gateway.core.streams.pages import Page, page_through
from gateway.core.streams.recent import TailWindow
from gateway.core.streams.shared_prefix import SharedPrefix
from tests.unit.core.streaming import ENCODER, followed_stream, labels

ROOM = 150
"""A few frames: steps and pages are cut within what they bring."""


def stored(life: int, offset: int) -> Publication:
    return Publication("s/a", f"{life}-{offset}", offset, b"1", stream="s", offset=offset)


@dataclass
class Lives:
    """A log that held ``former`` publications when it began anew with the first ``shared`` of them."""

    former: int
    shared: int
    later: int
    first: int = 1
    holes: frozenset[int] = frozenset()
    page: int = 1024
    reads: int = 0

    def window(self, messages: int) -> TailWindow:
        window = TailWindow("s", "e1", 0, messages=messages)
        for offset in range(1, self.former + 1):
            window.push(stored(1, offset))
        return window

    @property
    def last(self) -> int:
        return self.shared + self.later

    @property
    def bounds(self) -> Bounds:
        return Bounds("e2", self.first, self.last)

    def at(self, offset: int) -> Publication:
        return stored(1 if offset <= self.shared else 2, offset)

    def read(self, after: int, messages: int) -> Page:
        self.reads += 1
        begin = max(after + 1, self.first)
        through = min(begin + min(messages, self.page) - 1, self.last)
        found = [self.at(offset) for offset in range(begin, through + 1) if offset not in self.holes]
        return page_through(self.bounds, found, after=after, through=through)

    def find(self, window: TailWindow) -> int | None:
        prefix = SharedPrefix(window, self.bounds)
        while not prefix.done:
            prefix.look(self.read(prefix.after, prefix.messages))
        return prefix.shared


@st.composite
def lives(draw: st.DrawFn, holes: bool = False) -> Lives:
    former = draw(st.integers(0, 700) | st.integers(0, 12))
    shared = draw(st.integers(0, former) | st.integers(max(0, former - 80), former))
    later = draw(st.integers(0, 200))
    first = draw(st.just(1) | st.integers(1, shared + later + 1))
    missing = draw(st.frozensets(st.integers(1, 700), max_size=30)) if holes else frozenset()
    return Lives(former, shared, later, first, missing, draw(st.integers(1, 90) | st.just(1024)))


@given(lives(), st.integers(1, 800) | st.integers(1, 8))
def test_the_place_where_lives_part_is_found_if_the_window_holds_it(lives: Lives, messages: int) -> None:
    window = lives.window(messages)
    held = window.held_after < lives.shared and lives.first <= lives.shared
    assert lives.find(window) == (lives.shared if held else None)
    looked_at = max(0, min(window.last, lives.last) - window.held_after)
    assert lives.reads <= 4 + 2 * looked_at / min(lives.page, 64)


@given(lives(holes=True), st.integers(1, 800))
def test_holes_tell_neither_way(lives: Lives, messages: int) -> None:
    window = lives.window(messages)
    both = [
        each
        for each in range(max(window.held_after + 1, lives.first), lives.shared + 1)
        if each not in lives.holes
    ]
    found = lives.find(window)
    if found is None:
        # Nothing was there to compare, in what was read before the lives were seen to differ.
        assert not both or lives.holes
    else:
        assert found in both
        assert both.index(found) == len(both) - 1
    assert lives.reads <= 2000


@pytest.mark.parametrize(
    "other",
    [
        Publication("s/a", "1-3", 4, b"1", stream="s", offset=3),
        Publication("s/a", "another", 3, b"1", stream="s", offset=3),
        Publication("s/b", "1-3", 3, b"1", stream="s", offset=3),
        Publication("s/a", "1-3", 3, b"2", stream="s", offset=3),
        Publication("s/a", "1-3", 3, None, b"1", stream="s", offset=3),
        Publication("s/a", "1-3", 3, b"1", headers={"a": "b"}, stream="s", offset=3),
        Publication("s/a", "1-3", 3, b"1", key="k", stream="s", offset=3),
        Publication("s/a", "1-3", 3, b"1", content_type="text/plain", stream="s", offset=3),
    ],
)
def test_publications_are_the_same_only_in_all_that_was_stored(other: Publication) -> None:
    prefix = SharedPrefix(Lives(3, 3, 0).window(10), Bounds("e2", 1, 3))
    prefix.look(Page(Bounds("e2", 1, 3), [stored(1, 1), stored(1, 2), other]))
    assert (prefix.done, prefix.shared) == (True, 2)


def test_yet_another_life_begins_the_search_anew() -> None:
    prefix = SharedPrefix(Lives(500, 0, 0).window(500), Bounds("e2", 1, 400))
    assert prefix.after == 400 - 64
    prefix.look(Page(Bounds("e3", 1, 300), []))
    assert (prefix.bounds.epoch, prefix.after, prefix.shared) == ("e3", 300 - 64, None)


def test_a_page_that_tells_nothing_ends_a_look() -> None:
    prefix = SharedPrefix(Lives(5, 0, 0).window(5), Bounds("e2", 1, 5))
    prefix.look(Page(Bounds("e2", 1, 0), []))
    assert (prefix.done, prefix.shared) == (True, None)


def goes_on(reader: Reader, lives: Lives) -> list[object]:
    """Serve ``reader`` until it is level with the tail, as its owner does."""
    got: list[object] = []
    for _ in range(5000):
        step = reader.step(ROOM)
        got += labels(step.frames)
        if step.level:
            return got
        if step.needed is not None and not step.frames:
            taken = reader.take(step.needed, lives.read(step.needed.after, 512), ROOM)
            got += labels(taken or [])
    raise AssertionError("the reader never got there")


@given(lives(), st.integers(1, 800) | st.integers(1, 8), st.data())
def test_nobody_gets_anything_twice_and_nothing_of_the_new_life_is_missing(
    lives: Lives, messages: int, data: st.DataObject
) -> None:
    stream = followed_stream()
    window = stream.window = lives.window(messages)
    # Those who are live have had everything; histories and the spilled are somewhere behind.
    had = data.draw(st.just(lives.former) | st.integers(0, lives.former))
    reader = HistoryReader(ENCODER, "s/#", {stream: Position("e1", had)})
    shared = lives.find(window)
    if shared is None:
        window.restart("e2", lives.last, first=lives.first)
    else:
        window.part("e2", shared, first=lives.first)
        # Some of the rest has come by the tail already.
        for offset in range(max(shared + 1, lives.first), lives.last + 1):
            if window.last + 1 == offset and data.draw(st.booleans(), label="brought"):
                window.push(lives.at(offset))
    got = goes_on(reader, lives)
    behind = lives.first - 1 if shared is None else min(had, lives.shared)
    told = [each for each in got if isinstance(each, dict)]
    assert (told[0]["reason"], told[0]["epoch"], told[0]["offset"]) == ("epoch", "e2", behind)
    # The window may still hold what the log has let go of.
    first = min(lives.first, window.held_after + 1) if behind >= window.held_after else lives.first
    missing = [] if behind + 1 >= first else [(behind + 1, first - 1)]
    assert [(each["from"], each["to"]) for each in told[1:]] == missing
    assert [each for each in got if isinstance(each, str)] == [
        lives.at(offset).id for offset in range(max(behind + 1, first), window.last + 1)
    ]
    assert reader.positions == {stream: Position("e2", window.last)}
