"""Shared pages or selected ones: by what the pages showed."""

from __future__ import annotations

import pytest

from gateway.core.catchup.page_choice import (
    SELECTED_FROM,
    SHARED_AFTER_REFUSAL,
    SHARED_FROM,
    Matching,
    PageChoice,
)
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import FollowedStream

STREAM = FollowedStream(StreamConfiguration("s", "s/#"))
FEW = ("s/a", "s/b")


@pytest.mark.parametrize(
    ("filters", "selected"),
    [(("#",), False), (("s/#",), False), (("s/a", "#"), False), (("s/a",), True), (("+/+",), True)],
)
def test_a_reader_begins_with_shared_pages_where_it_wants_all_that_is_captured(
    filters: tuple[str, ...], selected: bool
) -> None:
    assert PageChoice().source(STREAM, filters) == (Matching(filters) if selected else None)


@pytest.mark.parametrize("passed", [100, 512, 16 * 1024])
def test_what_the_pages_hold_decides(passed: int) -> None:
    choice = PageChoice()
    source = choice.source(STREAM, FEW)
    choice.count(STREAM, source, passed=passed, wanted=passed // SHARED_FROM)
    assert choice.source(STREAM, FEW) == Matching(FEW)
    choice.count(STREAM, source, passed=passed, wanted=passed // SHARED_FROM + 1)
    assert choice.source(STREAM, FEW) is None
    choice.count(STREAM, None, passed=passed, wanted=-(-passed // SELECTED_FROM))
    assert choice.source(STREAM, FEW) is None
    choice.count(STREAM, None, passed=passed, wanted=passed // SELECTED_FROM - 1)
    assert choice.source(STREAM, FEW) == Matching(FEW)


def test_a_stream_that_holds_other_topics_than_it_captures_now_is_selected_from() -> None:
    choice = PageChoice()
    assert choice.source(STREAM, ("s/#",)) is None
    choice.count(STREAM, None, passed=512, wanted=0)
    assert choice.source(STREAM, ("s/#",)) == Matching(("s/#",))


def test_who_wants_everything_never_selects() -> None:
    choice = PageChoice()
    choice.source(STREAM, FEW)
    assert choice.source(STREAM, (*FEW, "#")) is None


def test_an_index_that_can_not_tell_is_not_asked_again_at_once() -> None:
    choice = PageChoice()
    choice.source(STREAM, FEW)
    choice.refuse(STREAM)
    for _ in range(SHARED_AFTER_REFUSAL + 1):
        assert choice.source(STREAM, FEW) is None
        choice.count(STREAM, None, passed=512, wanted=0)
    assert choice.source(STREAM, FEW) == Matching(FEW)
