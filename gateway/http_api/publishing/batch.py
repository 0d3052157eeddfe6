"""An array of messages in one request: one result per item, in order, each may fail alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio.lowlevel

from gateway.codecs.publish_items import split_publish_items
from gateway.errors import BadFrame, GatewayError, TooLarge
from gateway.http_api.publishing.item_count import refuse_too_many_items
from gateway.http_api.publishing.receipts import failure_object, receipt_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.auth.principal import Principal
    from gateway.core.messages.publication import Publish
    from gateway.engine.publishing import PublishService, Receipt
    from gateway.http_api.publishing.limits import PublishingLimits

    Outcome: TypeAlias = Receipt | asyncio.Future[Receipt] | GatewayError

TURN_SECONDS: Final = 0.001
"""How long messages are published for before other tasks get the event loop."""

_ENVELOPE_DEPTH: Final = 512
"""Up to here an array can be taken apart, so that an item nested too deep fails alone."""


class Batches:
    """Publishes the body of ``POST /v1/publish``, or of any array that ``decode`` reads the items of."""

    def __init__(
        self, publisher: PublishService, limits: PublishingLimits, decode: Callable[[bytes], Publish]
    ) -> None:
        self._publisher = publisher
        self._decode = decode
        self._limits = limits
        depth = max(limits.message.json_depth, _ENVELOPE_DEPTH)
        self._envelope_limits = replace(limits.message, json_depth=depth)

    async def publish(
        self, raw: bytes, principal: Principal, trace: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Publish the items of ``raw``, in order, and return what became of each.

        Items that name no trace are part of ``trace``, headers that each message gets then.

        Raises:
            BadFrame: the envelope is not UTF-8, not JSON, neither an object nor an array, or nested
                too deep to be taken apart.
            TooLarge: more than ``batch_items``.
        """
        refuse_too_many_items(raw, self._limits.batch_items)
        items = split_publish_items(raw, self._envelope_limits)
        if len(items) > self._limits.batch_items:
            raise TooLarge(f"the array has {len(items)} items, and {self._limits.batch_items} are the most")
        outcomes: list[Outcome] = []
        until = monotonic() + TURN_SECONDS
        for item in items:
            if monotonic() > until:
                await anyio.lowlevel.checkpoint()
                until = monotonic() + TURN_SECONDS
            outcomes.append(self._submit(item, principal, trace))
        if len(outcomes) == 1 and isinstance(outcomes[0], BadFrame) and not raw.lstrip().startswith(b"["):
            # One object is its own envelope: broken JSON is no failed item but a failed request.
            raise outcomes[0]
        return [await _result(outcome) for outcome in outcomes]

    def _submit(self, item: bytes, principal: Principal, trace: Mapping[str, str] | None) -> Outcome:
        try:
            command = self._decode(item)
            if trace and "traceparent" not in (command.headers or ()):
                command.headers = {**trace, **(command.headers or {})}
            return self._publisher.submit(command, principal)
        except GatewayError as error:
            return error


async def _result(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, GatewayError):
        return failure_object(outcome)
    if not isinstance(outcome, asyncio.Future):
        return receipt_object(outcome)
    try:
        return receipt_object(await outcome)
    except GatewayError as error:
        return failure_object(error)
