"""``/v1/hooks`` and below: what hooks there are and are told to do, and what became of deliveries.

One may be published again. Deliveries are those of all nodes: each has kept its own.

Spec: docs/webhooks.md, "Deliveries".
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson
from starlette.datastructures import QueryParams
from starlette.routing import Route

from gateway.auth.principal import Principal
from gateway.auth.requests import peer_of
from gateway.codecs.query import check_names, decode_query
from gateway.core.cluster.info import HookDelivery
from gateway.core.messages.commands import Start, StartKind
from gateway.core.messages.publication import Publish
from gateway.engine.following.reading import Query
from gateway.errors import NotFound
from gateway.http_api.publishing.receipts import json_answer, publish_answer
from gateway.http_api.stream_queries import limit_of
from gateway.http_api.webhooks.journal import REPLAYED, Outcome
from gateway.http_api.webhooks.presets import preset_names, read_preset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.core.messages.publication import Publication
    from gateway.engine.cluster.administration import ClusterAdministration
    from gateway.engine.following.reading import StreamReader
    from gateway.engine.publishing import PublishService
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.webhooks.hook import Hook
    from gateway.http_api.webhooks.journal import DeliveryJournal, DeliveryRecord

_HOOKS_PATH: Final = "/v1/hooks"
_DELIVERIES_PATH: Final = _HOOKS_PATH + "/{hook}/deliveries"
_DIGITS: Final = 15
_PAGE_BYTES: Final = 128 * 1024


class JournalRoutes:
    """The endpoints; every error is raised as a ``GatewayError``."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        journal: DeliveryJournal,
        *,
        publisher: PublishService,
        reader: StreamReader,
        administration: ClusterAdministration,
        administrator: RequestAuthenticator,
    ) -> None:
        """Show ``journal``, and other nodes'; ``administrator`` must let administrators through alone."""
        self._hooks = {hook.name: hook for hook in hooks}
        self._journal = journal
        self._publisher = publisher
        self._reader = reader
        self._administration = administration
        self._administrator = administrator
        administration.hook_deliveries = self._own

    def routes(self) -> list[Route]:
        """The routes of all hooks."""
        return [
            Route(_HOOKS_PATH, self.list_hooks, methods=["GET"]),
            Route(_HOOKS_PATH + "/{hook}/declaration", self.declaration, methods=["GET"]),
            Route(_DELIVERIES_PATH, self.list_deliveries, methods=["GET"]),
            Route(_DELIVERIES_PATH + "/{number}/replay", self.replay, methods=["POST"]),
        ]

    async def list_hooks(self, request: Request) -> Response:
        """Return the hooks of this node's settings, and nothing secret."""
        await self._administrator(request)
        check_names(request.query_params)
        return json_answer({"hooks": [_hook_object(each) for each in self._hooks.values()]})

    async def declaration(self, request: Request) -> Response:
        """Return what a hook is told to do, its preset's part too, without a secret."""
        await self._administrator(request)
        check_names(request.query_params)
        hook = self._hooks[self._hook(request)]
        told: dict[str, Any] = msgspec.to_builtins(hook.declaration)
        # Of the ways to sign, those that the hook has a key for.
        told["signed"] = [msgspec.to_builtins(each.declaration) for each in hook.schemes]
        return json_answer({"name": hook.name, "scheme": hook.scheme, "declaration": told})

    async def list_deliveries(self, request: Request) -> Response:
        """Return what became of the last deliveries, the newest first."""
        await self._administrator(request)
        limit = limit_of(_parameters(request, "limit"))
        found, reach = await self._administration.deliveries(self._hook(request), limit)
        return json_answer({"deliveries": [_object(*each) for each in found], **asdict(reach)})

    async def replay(self, request: Request) -> Response:
        """Publish once more what a stream keeps of a delivery."""
        await self._administrator(request)
        node = _parameters(request, "node").get("node", "")
        hook = self._hook(request)
        number = request.path_params["number"]
        wanted = int(number) if number.isascii() and number.isdigit() and len(number) <= _DIGITS else 0
        record = await self._administration.delivery(hook, wanted, node)
        if record is None:
            raise NotFound(f"delivery {number[:_DIGITS]!r} of hook {hook!r} is not among the last ones there")
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
            name=record.delivery_id,
            topic=publication.topic,
            receipt=receipt,
        )
        self._journal.add(hook, outcome)
        return publish_answer(receipt)

    def _own(self, hook: str, limit: int) -> list[HookDelivery]:
        """This node's newest deliveries, as many as fit into what nodes tell each other."""
        if hook not in self._hooks:
            return []
        found: list[HookDelivery] = []
        room = _PAGE_BYTES
        for record in self._journal.records(hook)[:limit]:
            told = _told(record)
            room -= len(orjson.dumps(asdict(told)))
            if room < 0:
                break
            found.append(told)
        return found

    def _hook(self, request: Request) -> str:
        name: str = request.path_params["hook"]
        if name not in self._hooks:
            raise NotFound(f"no hook {name[:64]!r} is configured")
        return name

    async def _kept(self, record: HookDelivery) -> Publication:
        if record.stream is None or record.offset is None:
            raise NotFound(f"delivery {record.number} is not kept in a stream")
        start = Start(StartKind.OFFSET, record.offset)
        query = Query(stream=record.stream, filter="#", start=start, limit=1)
        reading = await self._reader.read(query)
        for publication in reading.publications:
            if publication.offset == record.offset and publication.id == record.id:
                return publication
        raise NotFound(f"stream {record.stream!r} no longer keeps delivery {record.number}")


def _told(record: DeliveryRecord) -> HookDelivery:
    receipt = record.receipt
    return HookDelivery(
        number=record.number,
        time=record.time,
        verdict=record.verdict,
        address=record.address,
        size=record.size,
        delivery_id=_text(record.name),
        topic=_text(record.topic),
        reason=record.reason or None,
        detail=_text(record.detail) or None,
        id=None if receipt is None else receipt.id,
        stream=None if receipt is None else receipt.stream,
        offset=None if receipt is None else receipt.offset,
    )


def _text(text: str | None) -> str | None:
    """What a sender said, in UTF-8: JSON knows halves of characters."""
    return None if text is None else text.encode(errors="replace").decode()


def _parameters(request: Request, *known: str) -> QueryParams:
    parameters = QueryParams(decode_query(request.scope["query_string"]))
    check_names((name for name, _ in parameters.multi_items()), known)
    return parameters


def _object(node: str, told: HookDelivery) -> dict[str, Any]:
    return {"node": node} | {name: value for name, value in asdict(told).items() if value is not None}


def _hook_object(hook: Hook) -> dict[str, Any]:
    declaration = hook.declaration
    return {
        "name": hook.name,
        "path": f"{_HOOKS_PATH}/{hook.name}",
        "methods": sorted(hook.methods),
        "scheme": hook.scheme,
        "sender": read_preset(hook.scheme).title if hook.scheme in preset_names() else None,
        "verification": hook.verification,
        "topic": declaration.topic,
        "tolerance": declaration.tolerance,
        "dedupe": declaration.dedupe,
    }
