"""``DELETE /v1/streams/{stream}/messages``: what matches goes for good.

Spec: docs/http.md, "Purging a stream".
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.routing import Route

from gateway.codecs.query import check_names, decode_query
from gateway.core.topics.grammar import TopicLimits, intersects, parse_filter
from gateway.errors import BadCommand
from gateway.http_api.audit import note
from gateway.http_api.progress import ProgressLines, wants_lines
from gateway.http_api.publishing.receipts import json_answer
from gateway.http_api.stream_queries import check_meets, configured_stream
from gateway.http_api.streams import STREAMS_PATH
from gateway.http_api.waiting_clients import while_connected

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.core.streams.stream import StreamMap
    from gateway.engine.lasting import LastingRequests
    from gateway.engine.purging import Purge, PurgeService
    from gateway.http_api.authentication import RequestAuthenticator

_PARAMETERS: Final = ("filter", "before", "dry_run")
_DIGITS: Final = 16


class PurgeRoute:
    """The endpoint; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        streams: StreamMap,
        purges: PurgeService,
        *,
        administrator: RequestAuthenticator,
        lasting: LastingRequests,
        topic_limits: TopicLimits,
    ) -> None:
        """Purge ``streams``; ``administrator`` must let administrators through alone."""
        self._streams = streams
        self._purges = purges
        self._administrator = administrator
        self._lasting = lasting
        self._topic_limits = topic_limits

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route(STREAMS_PATH + "/{stream}/messages", self.purge, methods=["DELETE"])]

    async def purge(self, request: Request) -> Response:
        """Remove what matches; the answer comes once it is gone, or line by line as it goes."""
        principal = await self._administrator(request)
        parameters = QueryParams(decode_query(request.scope["query_string"]))
        check_names((name for name, _ in parameters.multi_items()), _PARAMETERS)
        stream = configured_stream(self._streams, request.path_params["stream"]).name
        topic_filter = self._filter(parameters)
        before = _before(parameters.get("before"))
        dry_run = _dry_run(parameters.get("dry_run"))
        await self._check_holds(stream, topic_filter)
        if dry_run:
            return await self._measure(request, stream, topic_filter, before)
        purge = self._purges.purge(stream, topic_filter, before, subject=principal.subject)
        if wants_lines(request):
            return ProgressLines(
                request,
                principal,
                purge.steps(),
                lasting=self._lasting,
                counted="purged",
                rest=lambda: _reach(purge),
            )
        await purge.at_once()
        note(request.scope, purged=purge.count)
        return json_answer({"purged": purge.count, **_reach(purge)})

    async def _measure(
        self, request: Request, stream: str, topic_filter: str, before: int | None
    ) -> Response:
        found = await while_connected(request, self._purges.measure(stream, topic_filter, before))
        if found is None:
            return Response(status_code=204)  # nobody reads it
        note(request.scope, count=found.messages, dry_run=True)
        return json_answer(
            {"count": found.messages, "bytes": found.bytes, "first": found.first, "last": found.last}
        )

    def _filter(self, parameters: QueryParams) -> str:
        text = parameters.get("filter")
        if text is None:
            raise BadCommand("filter is missing: a purge says what goes; '#' is everything")
        return parse_filter(text, self._topic_limits)

    async def _check_holds(self, stream: str, topic_filter: str) -> None:
        """Refuse a filter of another stream; not one of what this stream captured once and holds still.

        Raises:
            BadFilter: it is such a one.
            StreamUnavailable: the store can't be reached, or its index isn't complete.
        """
        configuration = self._streams[stream]
        if intersects(topic_filter, configuration.filter):
            return
        if not (await self._purges.measure(stream, topic_filter, None)).messages:
            check_meets(configuration, topic_filter)


def _before(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) >= 1):
        raise BadCommand(f"before {text[:32]!r} must be an offset, from 1")
    return int(text)


def _dry_run(text: str | None) -> bool:
    if text not in {None, "true", "false"}:
        raise BadCommand(f"dry_run {str(text)[:32]!r} must be true or false")
    return text == "true"


def _reach(purge: Purge) -> dict[str, Any]:
    assert purge.reach is not None, "it has ended"
    return asdict(purge.reach)
