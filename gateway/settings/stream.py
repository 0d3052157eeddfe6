"""The streams that are kept."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.core.groups.configuration import MOST_GROUPS
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.stream import StreamMap
from gateway.core.topics.grammar import TopicLimits, intersects, parse_filter
from gateway.errors import BadFilter
from gateway.settings.group import Group
from gateway.settings.section import Section
from gateway.settings.values import Count, Duration, Shown, Size, Timeout

MOST_STREAMS: Final = 1000

# What a filter may be at most is a setting of its own: see `stream_problems`.
_ANY_LENGTH: Final = TopicLimits(bytes=65535, levels=65535)


def _filter(value: str) -> str:
    try:
        parse_filter(value, _ANY_LENGTH)
    except BadFilter as exc:
        raise ValueError(str(exc)) from None
    if value.startswith("$"):
        raise ValueError("topics that begin with '$' are the gateway's own: no stream captures them")
    return value


class Stream(Section):
    """One stream: what is published on the topics it captures is stored, numbered, and can be read again."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Letters, digits, `.`, `_`, `-`. No two streams share one.",
    )
    filter: Annotated[str, AfterValidator(_filter), Shown("topic filter")] = Field(
        description="The topics it captures. No topic may belong to two streams."
    )
    max_messages: Count = Field(default=1_000_000, description="Messages it keeps; the oldest go first.")
    max_bytes: Size = Field(
        default=1024**3, description="Bytes of them, as the store counts; at least `limits.message_bytes`."
    )
    max_age: Timeout = Field(default=7 * 86400.0, description="How long it keeps a message.")
    dedupe_window: Timeout = Field(
        default=120.0, description="How long it knows an idempotency key, and answers it as the first time."
    )
    last_values: bool = Field(
        default=False, description="Keep each topic's newest message beyond the limits above."
    )
    last_values_max_topics: Count = Field(
        default=100_000,
        description="Topics whose last value it keeps; those that changed longest ago go first.",
    )
    last_values_max_age: Duration = Field(
        default=0.0, description="How long it keeps a last value; 0 for as long as there is none newer."
    )

    groups: tuple[Group, ...] = Field(
        default=(),
        max_length=MOST_GROUPS,
        description="Its groups of consumers; more can be made while it runs.",
    )

    def configuration(self) -> StreamConfiguration:
        """What the core takes."""
        return StreamConfiguration(
            name=self.name,
            filter=self.filter,
            max_messages=self.max_messages,
            max_bytes=self.max_bytes,
            max_age=self.max_age,
            dedupe_window=self.dedupe_window,
            last_values=self.last_values,
            last_values_max_topics=self.last_values_max_topics,
            last_values_max_age=self.last_values_max_age,
        )


def stream_map(streams: Sequence[Stream]) -> StreamMap:
    """All streams, by topic and by filter.

    Raises:
        ValueError: two have one name, or could capture one topic.
    """
    return StreamMap(each.configuration() for each in streams)


def stream_problems(streams: Sequence[Stream], limits: TopicLimits, message_bytes: int) -> Iterator[str]:
    """What doesn't go together with the limits of the node, or among the streams, a line each."""
    if len(streams) > MOST_STREAMS:
        yield f"streams: there are {len(streams)}, and {MOST_STREAMS} are the most"
        return
    for each in streams:
        try:
            parse_filter(each.filter, limits)
        except BadFilter as exc:
            yield f"streams: {each.name!r}: {exc}"
        if each.max_bytes < message_bytes:
            yield (
                f"streams: {each.name!r}: max_bytes ({each.max_bytes}) must be at least limits.message_bytes "
                f"({message_bytes}), or a message could be too large to be kept"
            )
        yield from _group_problems(each, limits)
    try:
        stream_map(streams)
    except ValueError as exc:
        yield f"streams: {exc}"


def _group_problems(stream: Stream, limits: TopicLimits) -> Iterator[str]:
    names = [each.name for each in stream.groups]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"streams: {stream.name!r}: two of its groups are named {name!r}"
    for each in stream.groups:
        try:
            parse_filter(each.filter, limits)
        except BadFilter as exc:
            yield f"streams: {stream.name!r}: group {each.name!r}: {exc}"
            continue
        if not intersects(each.filter, stream.filter):
            yield (
                f"streams: {stream.name!r}: group {each.name!r}: "
                f"the stream captures {stream.filter!r}, nothing of {each.filter!r}"
            )
