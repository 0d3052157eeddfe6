"""The groups of consumers that a stream has."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.core.groups.configuration import GroupConfiguration, group_start_text, parse_group_start
from gateway.core.topics.grammar import TopicLimits, parse_filter
from gateway.errors import BadFilter
from gateway.settings.section import Section
from gateway.settings.values import Count, Shown, Timeout

# The streams' own limits are checked beside those of the node; here it is the grammar alone.
_ANY_SIZE = TopicLimits(bytes=65535, levels=65535)


def _filter(text: str) -> str:
    try:
        return parse_filter(text, _ANY_SIZE)
    except BadFilter as exc:
        raise ValueError(str(exc)) from exc


def _start(value: object) -> str:
    # An offset is a number in TOML and JSON, and the same number as text in the environment.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ValueError("'new', 'earliest', an offset, or 'time:<ms>'")  # noqa: TRY004 - pydantic's own
    return group_start_text(parse_group_start(text))


_LONGEST_WAIT = 30 * 86400
_LONGEST_AGE = 10 * 365 * 86400

_Wait: TypeAlias = Annotated[Timeout, Field(le=_LONGEST_WAIT)]
"""Seconds, at most thirty days."""


class Group(Section):
    """One `[[streams.groups]]`: consumers that share the work that a stream is."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        description="Letters, digits, `.`, `_`, `-`. No two groups of a stream share one.",
    )
    ack_wait: _Wait = Field(
        default=30.0,
        description="How long a member has to acknowledge a delivery, or to extend its lease; then it counts "
        "as failed.",
    )
    max_deliver: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=5, description="After so many failed deliveries a message is a dead letter; 0: never."
    )
    backoff: Annotated[tuple[_Wait, ...], Field(max_length=32)] = Field(
        default=(1.0, 10.0, 60.0),
        description="How long a message waits after its first failed delivery, its second, and so on; "
        "the last is for all that follow.",
    )
    filter: Annotated[str, AfterValidator(_filter), Shown("topic filter")] = Field(
        default="#", description="Which of the stream's topics it works off."
    )
    start: Annotated[str, BeforeValidator(_start), Shown("start")] = Field(
        default="new",
        description="Where it begins when it is made: `new`, `earliest`, an offset, `time:<ms>`.",
    )
    max_in_flight: Count = Field(
        default=10_000, description="Deliveries that may be unacknowledged at once, all members together."
    )
    ordered_by_key: bool = Field(
        default=False, description="Messages with one key go to one member at a time, in order."
    )
    on_dead: Literal["continue", "hold"] = Field(
        default="continue",
        description="With `ordered_by_key`: whether a key goes on behind a dead letter, or waits until that "
        "is sent back or discarded.",
    )
    fair_by: Annotated[str, Field(pattern=r"^(key|level:[1-9][0-9]?)?$")] = Field(
        default="",
        description="Whose messages members get in turn: `key`, or `level:N`, a level of the topic; "
        "empty: the oldest first.",
    )
    keep_unacked: bool = Field(
        default=False,
        description="Retention leaves what the group hasn't finished; a full stream then refuses.",
    )
    dead_max_messages: Count = Field(
        default=100_000, description="Dead letters it keeps; the oldest go first."
    )
    dead_max_age: Annotated[Timeout, Field(le=_LONGEST_AGE)] = Field(
        default=14 * 86400.0, description="How long it keeps a dead letter."
    )

    @classmethod
    def of(cls, configuration: GroupConfiguration) -> Self:
        """The settings that ``configuration`` comes from."""
        return cls(
            name=configuration.name,
            filter=configuration.filter,
            start=group_start_text(configuration.start),
            ack_wait=configuration.ack_wait,
            max_deliver=configuration.max_deliver,
            backoff=configuration.backoff,
            max_in_flight=configuration.max_in_flight,
            ordered_by_key=configuration.ordered_by_key,
            on_dead="hold" if configuration.hold_on_dead else "continue",
            fair_by=configuration.fair_by,
            keep_unacked=configuration.keep_unacked,
            dead_max_messages=configuration.dead_max_messages,
            dead_max_age=configuration.dead_max_age,
        )

    def configuration(self) -> GroupConfiguration:
        """What the core takes."""
        return GroupConfiguration(
            name=self.name,
            filter=self.filter,
            start=parse_group_start(self.start),
            ack_wait=self.ack_wait,
            max_deliver=self.max_deliver,
            backoff=self.backoff,
            max_in_flight=self.max_in_flight,
            ordered_by_key=self.ordered_by_key,
            hold_on_dead=self.on_dead == "hold",
            fair_by=self.fair_by,
            keep_unacked=self.keep_unacked,
            dead_max_messages=self.dead_max_messages,
            dead_max_age=self.dead_max_age,
        )
