from __future__ import annotations

import pytest

from gateway.core.groups.configuration import GroupConfiguration, group_start_text, parse_group_start
from gateway.core.messages.commands import Start, StartKind


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("new", Start(StartKind.NEW)),
        ("earliest", Start(StartKind.EARLIEST)),
        ("7", Start(StartKind.OFFSET, 7)),
        ("time:0", Start(StartKind.TIME, 0)),
        (f"time:{2**53 - 1}", Start(StartKind.TIME, 2**53 - 1)),
    ],
)
def test_a_start_is_read_and_written(text: str, start: Start) -> None:
    assert parse_group_start(text) == start
    assert group_start_text(start) == text


@pytest.mark.parametrize("text", ["", "0", "-1", "last:3", "time:", "time:x", str(2**53), "²", "New", "1.0"])
def test_what_is_no_start_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'earliest'"):
        parse_group_start(text)


def test_the_last_backoff_is_for_all_that_follow() -> None:
    group = GroupConfiguration("g", backoff=(1.0, 10.0))
    assert [group.wait_after(failures) for failures in (1, 2, 3, 9)] == [1_000, 10_000, 10_000, 10_000]
    assert GroupConfiguration("g", backoff=()).wait_after(1) == 0


@pytest.mark.parametrize(
    ("fair_by", "share"), [("", ""), ("key", "k"), ("level:1", "a"), ("level:3", "c"), ("level:4", "")]
)
def test_a_share_is_a_key_or_a_level_of_the_topic(fair_by: str, share: str) -> None:
    assert GroupConfiguration("g", fair_by=fair_by).share_of("a/b/c", "k") == share
    assert GroupConfiguration("g", fair_by="key").share_of("a", None) == ""
