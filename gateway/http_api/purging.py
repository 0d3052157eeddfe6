"""``DELETE /v1/streams/{stream}/messages``: what matches goes for good.

Spec: docs/http.md, "Purging a stream".
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from starlette.datastructures import QueryParams
from starlette.routing import Route

from gateway.codecs.query import check_names, decode_query
from gateway.core.topics.grammar import TopicLimits, parse_filter
from gateway.errors import BadCommand
from gateway.http_api.audit import note
from gateway.http_api.publishing.receipts import json_answer
from gateway.http_api.stream_queries import check_meets, configured_stream
from gateway.http_api.streams import STREAMS_PATH

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.core.streams.configuration import StreamConfiguration
    from gateway.core.streams.stream import StreamMap
    from gateway.engine.purging import PurgeService
    from gateway.http_api.authentication import RequestAuthenticator

_PARAMETERS: Final = ("filter", "before")
_DIGITS: Final = 16

_log = logging.getLogger("gateway.streams")


class PurgeRoute:
    """The endpoint; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        streams: StreamMap,
        purges: PurgeService,
        *,
        administrator: RequestAuthenticator,
        topic_limits: TopicLimits,
    ) -> None:
        """Purge ``streams``; ``administrator`` must let administrators through alone."""
        self._streams = streams
        self._purges = purges
        self._administrator = administrator
        self._topic_limits = topic_limits

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route(STREAMS_PATH + "/{stream}/messages", self.purge, methods=["DELETE"])]

    async def purge(self, request: Request) -> Response:
        """Remove what matches; the answer comes once it is gone."""
        principal = await self._administrator(request)
        parameters = QueryParams(decode_query(request.scope["query_string"]))
        check_names((name for name, _ in parameters.multi_items()), _PARAMETERS)
        stream = configured_stream(self._streams, request.path_params["stream"])
        topic_filter = self._filter(stream, parameters)
        purged = await self._purges.purge(stream.name, topic_filter, _before(parameters.get("before")))
        # Not of what: the topics may be what had to go.
        _log.warning(
            "%d publications of stream %r were purged by %r", purged.count, stream.name, principal.subject
        )
        note(request.scope, purged=purged.count)
        return json_answer({"purged": purged.count, **asdict(purged.reach)})

    def _filter(self, stream: StreamConfiguration, parameters: QueryParams) -> str:
        text = parameters.get("filter")
        if text is None:
            raise BadCommand("filter is missing: a purge says what goes; '#' is everything")
        topic_filter = parse_filter(text, self._topic_limits)
        check_meets(stream, topic_filter)
        return topic_filter


def _before(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) >= 1):
        raise BadCommand(f"before {text[:32]!r} must be an offset, from 1")
    return int(text)
