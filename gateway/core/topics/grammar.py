"""Topics and topic filters: their grammar, and the three relations everything else asks about.

The grammar is MQTT 5's (OASIS MQTT 5.0, 4.7), since it is the one standard there is. Levels are separated by
``/`` and may be empty; in a filter ``+`` stands for exactly one level and ``#``, as the last level, for any
number of levels including none (``a/#`` matches ``a``).

MQTT 5.0, 4.7.2: "The Server MUST NOT match Topic Filters starting with a wildcard character (# or +) with
Topic Names beginning with a $ character." All three relations honour that exactly, and one thing more that
follows from 4.7.3: no topic is empty, so ``/#`` matches the topics of ``/+/#`` and no other.

A parsed topic or filter stays a plain ``str``: the hot path compares and hashes them, and nothing is faster.
``matches``, ``covers`` and ``intersects`` take parsed ones and never fail. They know no limits: ``covers``
speaks about all topics of the grammar, however long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import BadFilter, BadTopic

_SHOWN_CHARACTERS = 128
_SURROGATE = re.compile("[\\ud800-\\udfff]")


@dataclass(frozen=True, slots=True)
class TopicLimits:
    """How long a topic or a filter may be: ``bytes`` of UTF-8, and number of ``levels``."""

    bytes: int = 512
    levels: int = 32


DEFAULT_LIMITS = TopicLimits()


def parse_topic(text: str, limits: TopicLimits = DEFAULT_LIMITS) -> str:
    """Return ``text``, now known to be a topic name.

    ``$…`` is legal here: who may publish to the gateway's own topics is not a question of grammar.

    Raises:
        BadTopic: empty, a wildcard, a NUL, a lone surrogate, or over a limit.
    Spec: OASIS MQTT 5.0, 4.7.1 and 4.7.3.
    """
    if (
        text.isascii()
        and 0 < len(text) <= limits.bytes
        and text.count("/") < limits.levels
        and "+" not in text
        and "#" not in text
        and "\0" not in text
    ):
        return text
    rule = _broken_rule(text, limits)
    if rule is None and has_wildcard(text):
        rule = "'+' and '#' are for filters"
    if rule is not None:
        raise BadTopic(f"topic {_shown(text)}: {rule}")
    return text


def parse_filter(text: str, limits: TopicLimits = DEFAULT_LIMITS) -> str:
    """Return ``text``, now known to be a topic filter.

    Raises:
        BadFilter: empty, a misplaced wildcard, a NUL, a lone surrogate, or over a limit.
    Spec: OASIS MQTT 5.0, 4.7.1 and 4.7.3.
    """
    plain = text.isascii() and 0 < len(text) <= limits.bytes and "\0" not in text
    rule = None if plain and text.count("/") < limits.levels else _broken_rule(text, limits)
    if rule is None and has_wildcard(text):
        rule = _broken_wildcard_rule(text.split("/"))
    if rule is not None:
        raise BadFilter(f"topic filter {_shown(text)}: {rule}")
    return text


def has_wildcard(topic_filter: str) -> bool:
    """Whether ``topic_filter`` can match more than the one topic of its own name."""
    return "+" in topic_filter or "#" in topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a publication on ``topic`` is for subscribers of ``topic_filter``."""
    if "+" in topic_filter:
        return _matches_by_level(topic_filter, topic)
    if topic_filter[-1] != "#":
        return topic_filter == topic
    if topic_filter == "#":
        return topic[0] != "$"
    return topic.startswith(topic_filter[:-1]) or topic == topic_filter[:-2]


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that ``narrow`` matches is matched by ``wide`` too; permissions ask this."""
    if narrow[0] == "$" and wide[0] in "+#":
        return False
    wide_levels, narrow_levels = wide.split("/"), _explicit_levels(narrow)
    for position, level in enumerate(wide_levels):
        if level == "#":
            return True
        if position == len(narrow_levels):
            return False
        other = narrow_levels[position]
        # Where `narrow` ends in '#' it matches its parent as well, which is too short for `wide`.
        if other == "#" or (level not in ("+", other)):
            return False
    return len(wide_levels) == len(narrow_levels)


def intersects(one: str, other: str) -> bool:
    """Whether some topic is matched by both filters; the configuration of streams asks this."""
    if (one[0] == "$" and other[0] in "+#") or (other[0] == "$" and one[0] in "+#"):
        return False
    one_levels, other_levels = _explicit_levels(one), _explicit_levels(other)
    for level, opposite in zip(one_levels, other_levels, strict=False):
        if "#" in (level, opposite):
            return True
        if level != opposite and "+" not in (level, opposite):
            return False
    shorter, longer = sorted((one_levels, other_levels), key=len)
    return longer[len(shorter) :] in ([], ["#"])


def _matches_by_level(topic_filter: str, topic: str) -> bool:
    if topic[0] == "$" and topic_filter[0] == "+":
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
    elif len(levels) != len(wanted):
        return False
    for want, level in zip(wanted, levels, strict=False):  # noqa: SIM110 - all() costs twice as much
        if want != level and want != "+":  # noqa: PLR1714 - so does a tuple
            return False
    return True


def _explicit_levels(topic_filter: str) -> list[str]:
    """The filter's levels, with the level spelled out that ``#`` and ``/#`` need, since no topic is empty."""
    levels = topic_filter.split("/")
    if levels in (["#"], ["", "#"]):
        levels.insert(-1, "+")
    return levels


def _broken_rule(text: str, limits: TopicLimits) -> str | None:
    """The first rule that ``text`` breaks of those that topics and filters share."""
    if not text:
        return "must not be empty"
    # Characters are counted before they are encoded: what is sent may be megabytes long.
    if len(text) > limits.bytes or _utf8_size(text) > limits.bytes:
        return f"must not be longer than {limits.bytes} bytes"
    if text.count("/") >= limits.levels:
        return f"must not have more than {limits.levels} levels"
    if "\0" in text:
        return "must not hold NUL"
    if _SURROGATE.search(text) is not None:
        # MQTT 5.0, 1.5.4: a string "MUST NOT include encodings of code points between U+D800 and U+DFFF".
        return "must not hold a lone surrogate"
    return None


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _broken_wildcard_rule(levels: list[str]) -> str | None:
    for level in levels:
        if "+" in level and level != "+":
            return "'+' must be a whole level"
        if "#" in level and level != "#":
            return "'#' must be a whole level"
    if "#" in levels[:-1]:
        return "'#' must be the last level"
    return None


def _shown(text: str) -> str:
    """``text`` quoted and escaped for a message, and cut, since whoever sent it chose its length."""
    shown = repr(text[:_SHOWN_CHARACTERS])
    if len(text) <= _SHOWN_CHARACTERS and len(shown) <= _SHOWN_CHARACTERS:
        return shown
    return shown[: _SHOWN_CHARACTERS - 1] + "…"
