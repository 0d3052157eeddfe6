"""What a request for ``/v1/events`` asks for.

Spec: docs/http.md, "Server-sent events".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.datastructures import QueryParams

from gateway.codecs.event_ids import MOST_FILTERS, decode_event_id
from gateway.codecs.query import check_names, decode_query
from gateway.codecs.start import decode_start
from gateway.core.messages.commands import START_NEW, Overflow, Position, Start, Subscribe
from gateway.errors import BadCommand

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.requests import Request

    from gateway.core.catchup.resume_point import ResumePoint

_PARAMETERS: Final = ("filter", "from", "overflow", "last_event_id")

# No stream can have this name: the engine then says what is true, that not all could be had.
_UNKNOWN: Final = {"?": Position("", 0)}


@dataclass(frozen=True, slots=True)
class EventQuery:
    """One request.

    Attributes:
        filters: the topic filters, each once, not parsed yet.
        start: where to begin in streams of which no position is known.
        overflow: the policy of all of its subscriptions.
        resumes: whether the client comes back.
        point: from where; None where it can't be read.
    """

    filters: tuple[str, ...]
    start: Start
    overflow: Overflow
    resumes: bool
    point: ResumePoint | None

    @classmethod
    def read(cls, request: Request) -> EventQuery:
        """Read the query and ``Last-Event-ID``.

        Raises:
            BadCommand: no filter, too many, or a parameter without a meaning.
            BadFilter: a filter is not UTF-8.
        """
        parameters = QueryParams(decode_query(request.scope["query_string"]))
        filters = tuple(dict.fromkeys(parameters.getlist("filter")))
        if not 1 <= len(filters) <= MOST_FILTERS:
            raise BadCommand(f"there must be 1 to {MOST_FILTERS} parameters 'filter', not {len(filters)}")
        check_names((name for name, _ in parameters.multi_items()), _PARAMETERS, repeated=("filter",))
        start, overflow = parameters.get("from"), parameters.get("overflow", Overflow.SPILL.value)
        # What a browser sends by itself is newer than what its page put into the address.
        last = request.headers.get("last-event-id") or parameters.get("last_event_id", "")
        return cls(
            filters,
            START_NEW if start is None else decode_start(start),
            _overflow(overflow),
            bool(last),
            decode_event_id(last) if last else None,
        )

    def subscribe(self, topic_filter: str, met: Mapping[str, Collection[str]]) -> Subscribe:
        """The command for one of the filters; ``met``: the streams that each may match something of."""
        resume: Mapping[str, Position] | None = None
        if self.point is not None:
            # An id says where streams were, not for which filters: one that another filter meets is its.
            others = {stream for streams in met.values() for stream in streams}.difference(met[topic_filter])
            positions = self.point.of(topic_filter)
            resume = {stream: at for stream, at in positions.items() if stream not in others} or None
        elif self.resumes and met[topic_filter]:
            resume = _UNKNOWN
        return Subscribe(topic_filter, resume, self.start, self.overflow)


def _overflow(text: str) -> Overflow:
    try:
        return Overflow(text)
    except ValueError:
        known = ", ".join(each.value for each in Overflow)
        raise BadCommand(f"overflow {text[:32]!r} must be one of {known}") from None
