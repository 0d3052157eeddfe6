"""``/v1/hooks/{hook}/deliveries``: what became of a hook's last deliveries, and publishing one again.

Spec: docs/webhooks.md, "Deliveries".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from starlette.routing import Route

from gateway.auth.principal import Principal
from gateway.auth.requests import peer_of
from gateway.codecs.query import check_names
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publish
from gateway.engine.following.reading import Query
from gateway.errors import NotFound
from gateway.http_api.publishing.receipts import json_answer, publish_answer, receipt_object
from gateway.http_api.webhooks.journal import REPLAYED, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.core.messages.publication import Publication
    from gateway.engine.following.reading import StreamReader
    from gateway.engine.publishing import PublishService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.webhooks.hook import Hook
    from gateway.http_api.webhooks.journal import DeliveryJournal, DeliveryRecord

_DELIVERIES_PATH: Final = "/v1/hooks/{hook}/deliveries"
_DIGITS: Final = 15


class JournalRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        journal: DeliveryJournal,
        *,
        publisher: PublishService,
        reader: StreamReader,
        administrator: RequestAuthenticator,
    ) -> None:
        """Show ``journal``; ``administrator`` must let administrators through alone."""
        self._hooks = {hook.name for hook in hooks}
        self._journal = journal
        self._publisher = publisher
        self._reader = reader
        self._administrator = administrator

    def routes(self) -> list[Route]:
        """The routes of all hooks."""
        return [
            Route(_DELIVERIES_PATH, self.list_deliveries, methods=["GET"]),
            Route(_DELIVERIES_PATH + "/{number}/replay", self.replay, methods=["POST"]),
        ]

    async def list_deliveries(self, request: Request) -> Response:
        """Return what became of the last deliveries, the newest first."""
        await self._administrator(request)
        check_names(request.query_params)
        records = self._journal.records(self._hook(request))
        return json_answer({"deliveries": [_object(each) for each in records]})

    async def replay(self, request: Request) -> Response:
        """Publish once more what a stream keeps of a delivery."""
        await self._administrator(request)
        hook = self._hook(request)
        number = request.path_params["number"]
        wanted = int(number) if number.isascii() and number.isdigit() and len(number) <= _DIGITS else 0
        record = next((each for each in self._journal.records(hook) if each.number == wanted), None)
        if record is None:
            raise NotFound(f"delivery {number[:_DIGITS]!r} of hook {hook!r} is not among the last ones here")
        publication = await self._kept(record)
        command = Publish(
            publication.topic,
            data=publication.data,
            binary=publication.binary,
            content_type=publication.content_type,
            headers=publication.headers,
            key=publication.key,
        )
        receipt = await self._publisher.publish(command, Principal(subject=f"hook:{hook}"))
        outcome = Outcome(
            verdict=REPLAYED,
            address=peer_of(request.scope).text,
            size=record.size,
            name=record.name,
            topic=publication.topic,
            receipt=receipt,
        )
        self._journal.add(hook, outcome)
        return publish_answer(receipt)

    def _hook(self, request: Request) -> str:
        name: str = request.path_params["hook"]
        if name not in self._hooks:
            raise NotFound(f"no hook {name[:64]!r} is configured")
        return name

    async def _kept(self, record: DeliveryRecord) -> Publication:
        receipt = record.receipt
        if receipt is None or receipt.stream is None or receipt.offset is None:
            raise NotFound(f"delivery {record.number} is not kept in a stream")
        start = Start(StartKind.OFFSET, receipt.offset)
        query = Query(stream=receipt.stream, filter="#", start=start, limit=1)
        reading = await self._reader.read(query)
        for publication in reading.publications:
            if publication.offset == receipt.offset and publication.id == receipt.id:
                return publication
        raise NotFound(f"stream {receipt.stream!r} no longer keeps delivery {record.number}")


def _object(record: DeliveryRecord) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "number": record.number,
        "time": record.time,
        "verdict": record.verdict,
        "address": record.address,
        "size": record.size,
        "delivery_id": record.name,
        "topic": record.topic,
        "reason": record.reason or None,
        "detail": record.detail or None,
    }
    message = {} if record.receipt is None else receipt_object(record.receipt)
    return {name: value for name, value in {**shown, **message}.items() if value is not None}
