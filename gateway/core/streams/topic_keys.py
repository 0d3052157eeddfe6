"""Topics as keys of an ordered index, and how the topics that a filter matches are found in it.

Keys are ordered level by level: a topic stands before the topics below it, and those stand together, so that
everything under a level is one range. A search seeks from one range that may hold a match to the next one. It
costs a few seeks for each topic found, and one for each other level that stands where the filter has ``+``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.topics.grammar import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEPARATOR = b"\0\1"
"""In place of ``/``. No topic holds a NUL, so this is less than whatever else may follow a level."""
BELOW_ALL = b"\0\2"
"""Behind a topic's key: behind everything below the topic, before what follows it."""


def topic_key(topic: str) -> bytes:
    """The key of ``topic`` (or of the levels of one): bytes that sort level by level."""
    return topic.encode("utf-8", "surrogatepass").replace(b"/", SEPARATOR)


def topic_of(key: bytes) -> str:
    """The topic that has this key."""
    return key.replace(SEPARATOR, b"/").decode("utf-8", "surrogatepass")


def topics_matching(topic_filter: str, seek: Callable[[bytes], bytes | None]) -> Iterator[str | None]:
    """The topics of an index that a filter matches, in the order of their keys.

    Args:
        topic_filter: a parsed filter.
        seek: gives the first key of the index that is not less than the one it is given, or None.

    Yields:
        A topic that matches; None for a seek that found another one, so that the caller can bound the work.
    """
    wanted = topic_filter.split("/")
    literal = wanted.index("+") if "+" in wanted else len(wanted) - (wanted[-1] == "#")
    target: bytes | None = topic_key("/".join(wanted[:literal]))
    while target is not None and (key := seek(target)) is not None:
        topic = topic_of(key)
        found = matches(topic_filter, topic)
        yield topic if found else None
        target = key + b"\0" if found else _next_candidate(wanted, topic.split("/"))


def _next_candidate(wanted: list[str], levels: list[str]) -> bytes | None:
    """The least key behind a topic that doesn't match that may be of one that does, or None."""
    turn = -1
    """The last level so far that another topic may have differently."""
    for place, level in enumerate(wanted):
        if level == "#":
            # Only what begins with ``$`` is left out here, and all of that: it stands in one range.
            return _behind(levels[:1])
        if place == len(levels):
            return topic_key("/".join([*levels, "" if level == "+" else level]))
        if level == "+":
            turn = place
        elif levels[place] != level:
            here = topic_key(levels[place])
            if here < topic_key(level):
                return topic_key("/".join([*levels[:place], level]))
            break
    return None if turn < 0 else _behind(levels[: turn + 1])


def _behind(levels: list[str]) -> bytes:
    return topic_key("/".join(levels)) + BELOW_ALL
