"""The queries of ``/v1/streams/{stream}/messages`` and ``…/topics``, read strictly: no value, no answer.

Spec: docs/http.md, "Reading a stream".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.codecs.start import decode_start
from gateway.core.messages.commands import Start, StartKind
from gateway.core.topics.grammar import intersects
from gateway.errors import BadCommand, BadFilter, NotFound

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.core.streams.stream import StreamMap

MESSAGES_PER_PAGE: Final = 100
MOST_PER_PAGE: Final = 1_000
LONGEST_WAIT_SECONDS: Final = 30
EPOCH_CHARACTERS: Final = 256

MESSAGE_PARAMETERS: Final = ("filter", "from", "epoch", "limit", "wait")
TOPIC_PARAMETERS: Final = ("filter", "after", "limit")
_SECONDS: Final = re.compile(r"[0-9]{1,2}(\.[0-9]{1,3})?", re.ASCII)


def configured_stream(streams: StreamMap, name: str) -> StreamConfiguration:
    """The stream of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in streams:
        raise NotFound(f"no stream {name[:64]!r} is configured")
    return streams[name]


def check_meets(stream: StreamConfiguration, topic_filter: str) -> None:
    """Refuse a filter that matches nothing of what ``stream`` captures.

    Raises:
        BadFilter: it is such a one.
    """
    if not intersects(topic_filter, stream.filter):
        raise BadFilter(
            f"stream {stream.name!r} captures {stream.filter!r}, nothing that {topic_filter[:128]!r} matches"
        )


def start_of(parameters: QueryParams) -> Start:
    """Where to begin; at the earliest if not said.

    Raises:
        BadCommand: ``from`` is not a start.
    """
    text = parameters.get("from")
    start = Start(StartKind.EARLIEST) if text is None else decode_start(text)
    if start.kind is StartKind.SNAPSHOT:
        raise BadCommand("from 'snapshot': it is read with GET /v1/snapshot, which says where to go on")
    return start


def limit_of(parameters: QueryParams) -> int:
    """How many messages or topics at most.

    Raises:
        BadCommand: ``limit`` is not a number from 1 to 1,000.
    """
    text = parameters.get("limit", str(MESSAGES_PER_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MOST_PER_PAGE):
        raise BadCommand(f"limit {text[:32]!r} must be a number from 1 to {MOST_PER_PAGE}")
    return int(text)


def wait_of(parameters: QueryParams) -> float:
    """Seconds to wait.

    Raises:
        BadCommand: ``wait`` is not a number from 0 to 30.
    """
    text = parameters.get("wait", "0")
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST_WAIT_SECONDS:
        raise BadCommand(f"wait {text[:32]!r} must be a number of seconds from 0 to {LONGEST_WAIT_SECONDS}")
    return float(text)


def epoch_of(parameters: QueryParams, start: Start) -> str | None:
    """The epoch in which the reader got its offset.

    Raises:
        BadCommand: ``epoch`` without an offset to start from, or none that can be.
    """
    epoch = parameters.get("epoch")
    if epoch is None:
        return None
    if not 1 <= len(epoch) <= EPOCH_CHARACTERS:
        raise BadCommand(f"epoch must have 1 to {EPOCH_CHARACTERS} characters")
    if start.kind is not StartKind.OFFSET:
        raise BadCommand("epoch goes with an offset in 'from': it says in which epoch that offset was got")
    return epoch
