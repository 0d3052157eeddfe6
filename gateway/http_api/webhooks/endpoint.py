"""``/v1/hooks/{hook}``: a third party's webhook, verified, then published.

Everything that is decided is decided by the ``Hook``; here bytes are read, certificates fetched, messages
published and records kept. Spec: docs/webhooks.md.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from gateway.auth.principal import Principal
from gateway.auth.requests import peer_of
from gateway.errors import BadFrame, BadTopic, GatewayError, NotFound, Unauthenticated
from gateway.http_api.bodies import BodyReader, content_codings, unpacked
from gateway.http_api.lasting_bodies import read_lasting_body
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.publishing.receipts import publish_answer
from gateway.http_api.webhooks import journal, verdicts
from gateway.http_api.webhooks.exchange import (
    Arrival,
    DeliveryRefused,
    configured_answer,
    delivery_of,
    rendered_answer,
)
from gateway.http_api.webhooks.hook import Hook
from gateway.http_api.webhooks.journal import DeliveryJournal, Outcome
from gateway.http_api.webhooks.repeats import REPEAT_ENTRIES, RepeatFilter
from gateway.http_api.webhooks.verdicts import Verification

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from starlette.requests import Request

    from gateway.engine.lasting import LastingRequests
    from gateway.engine.publishing import PublishService, Receipt
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.webhooks.answers import ChallengeRule
    from gateway.http_api.webhooks.delivery import WebhookDelivery
    from gateway.http_api.webhooks.fetching import Fetcher
    from gateway.http_api.webhooks.repeats import SharedMemory

__all__ = ["HOOKS_PREFIX", "Hook", "HookPublishing", "HookStatistics"]

HOOKS_PREFIX: Final = "/v1/hooks/"
_GZIP: Final = ([b"gzip"], [b"x-gzip"])  # RFC 9110, 8.4.1.3: the same


@dataclass(frozen=True, slots=True)
class HookStatistics:
    """Counts since the start, by hook.

    Attributes:
        accepted: deliveries published.
        repeated: deliveries answered from memory.
        unverified: deliveries refused for their signature or time.
        ignored: deliveries answered and not published, as their hook is told to.
        refused: deliveries refused, by hook and reason.
    """

    accepted: Mapping[str, int]
    repeated: Mapping[str, int]
    unverified: Mapping[str, int]
    ignored: Mapping[str, int]
    refused: Mapping[tuple[str, str], int]


class HookPublishing:
    """The endpoint of all hooks."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        publisher: PublishService,
        authenticate: RequestAuthenticator,
        *,
        lasting: LastingRequests,
        limits: PublishingLimits | None = None,
        bodies: BodyReader | None = None,
        repeat_entries: int = REPEAT_ENTRIES,
        shared: SharedMemory | None = None,
        fetcher: Fetcher | None = None,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Publish what comes to ``hooks``.

        Args:
            hooks: all of them.
            publisher: publishes.
            authenticate: finds who sends to hooks that verify nothing.
            lasting: ends bodies whose senders lose their rights.
            limits: of one request.
            bodies: reads them.
            repeat_entries: how many deliveries of a hook are remembered here.
            shared: what other nodes remember; None where there are none.
            fetcher: fetches certificates and confirms subscriptions; None refuses what needs that.
            wall_clock: seconds since 1970.
            clock: seconds.
        """
        self._hooks = {hook.name: hook for hook in hooks}
        self._authenticate = authenticate
        self._lasting = lasting
        self._limits = limits or PublishingLimits()
        self._bodies = bodies or BodyReader()
        self._fetcher = fetcher
        self._wall_clock = wall_clock
        self._repeats = {
            hook.name: RepeatFilter(
                publisher,
                seconds=hook.declaration.dedupe,
                by_name=hook.declaration.repeat_by == "id",
                entries=repeat_entries,
                shared=shared,
                clock=clock,
            )
            for hook in self._hooks.values()
        }
        self.journal = DeliveryJournal(self._hooks, wall_clock=wall_clock, clock=clock)
        self._unverified: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        """The route of all hooks, for the methods by which any of them is asked."""
        methods = frozenset({"POST"}).union(*(hook.methods for hook in self._hooks.values()))
        return [Route(HOOKS_PREFIX + "{hook}", self.receive, methods=sorted(methods))]

    def statistics(self) -> HookStatistics:
        """A snapshot for metrics and tests."""
        return HookStatistics(
            {name: each.accepted for name, each in self._repeats.items() if each.accepted},
            {name: each.repeated for name, each in self._repeats.items() if each.repeated},
            dict(self._unverified),
            dict(self._ignored),
            self.journal.refused(),
        )

    async def receive(self, request: Request) -> Response:
        """Verify and publish one delivery; a repeat is answered as the first was."""
        name = request.path_params["hook"]
        hook = self._hooks.get(name)
        if hook is None:
            raise NotFound(f"no hook {name[:64]!r} is configured")
        if request.method not in hook.methods:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(hook.methods))})
        address = peer_of(request.scope).text
        # What can be said of it before its body is there.
        delivery = delivery_of(hook, request, b"")
        try:
            principal = await self._principal(hook, request)
            if request.method == "POST":
                delivery = delivery_of(hook, request, await self._read(hook, request, principal))
            return await self._answer(Arrival(hook, delivery, principal, address))
        except DeliveryRefused as refused:
            self._unverified[hook.name] += 1
            self._refuse(hook, delivery, address, refused.verdict)
            # One answer for everything that may be wrong: it must not help to guess.
            raise Unauthenticated(f"the delivery to hook {hook.name!r} is not signed as it must be") from None
        except GatewayError as error:
            reason = verdicts.FORM_BODY if isinstance(error, BadFrame) and delivery.is_form else error.code
            # A topic is made of what the body says, which is not for the log.
            detail = (
                f"its topic {str(error).rpartition(': ')[2]}" if isinstance(error, BadTopic) else str(error)
            )
            self._refuse(hook, delivery, address, Verification(reason, detail))
            raise

    async def _principal(self, hook: Hook, request: Request) -> Principal:
        """Who publishes: the hook where a signature vouches for it, else whoever sent the request."""
        if not hook.vouches:
            return await self._authenticate(request)
        # Its signature speaks for it and its template bounds it: it needs no grants of its own.
        return Principal(subject=f"hook:{hook.name}")

    async def _read(self, hook: Hook, request: Request, principal: Principal) -> bytes:
        limit = self._limits.hook_bytes
        packed = content_codings(request) in _GZIP
        if not hook.vouches:
            body = await read_lasting_body(
                request, principal, limit=limit, lasting=self._lasting, bodies=self._bodies, packed=packed
            )
        else:
            # Its signature is looked at when it is whole.
            body = await self._bodies.read(request, limit=limit, packed=packed)
        return unpacked(body, limit=limit) if packed else body

    async def _answer(self, arrival: Arrival) -> Response:
        hook, delivery = arrival.hook, arrival.delivery
        if (question := hook.challenge(delivery, verified=False)) is not None:
            return await self._answer_question(arrival, question)
        verdict = await self._verified(hook, delivery)
        if not verdict:
            raise DeliveryRefused(verdict)
        if (question := hook.challenge(delivery, verified=True)) is not None:
            return await self._answer_question(arrival, question)
        if delivery.method != "POST":
            raise DeliveryRefused(
                Verification(verdicts.CHALLENGE, f"{delivery.method} asks nothing that is known")
            )
        if hook.ignores(delivery):
            answer = configured_answer(arrival) or Response(status_code=204)
            self._ignored[hook.name] += 1
            self._note(arrival, journal.IGNORED)
            return answer
        return await self._publish(arrival)

    async def _verified(self, hook: Hook, delivery: WebhookDelivery) -> Verification:
        now = self._wall_clock()
        certificates: dict[str, bytes | None] = {}
        for url in hook.certificate_urls(delivery, now=now):
            certificates[url] = None if self._fetcher is None else await self._fetcher.certificate(url)
        return hook.verify(delivery, now=now, certificates=certificates)

    async def _answer_question(self, arrival: Arrival, question: ChallengeRule) -> Response:
        verdict = question.verify(arrival.delivery)
        if not verdict:
            raise DeliveryRefused(verdict)
        url = question.confirm_url(arrival.delivery)
        if isinstance(url, Verification):
            raise DeliveryRefused(url)
        if url is not None and (self._fetcher is None or not await self._fetcher.confirm(url)):
            raise DeliveryRefused(
                Verification(verdicts.CHALLENGE, "the sender's confirmation could not be fetched")
            )
        response = rendered_answer(arrival, question.answer)
        self._note(arrival, journal.ANSWERED)
        return response

    async def _publish(self, arrival: Arrival) -> Response:
        hook, delivery = arrival.hook, arrival.delivery
        # Before it is published: what can't be answered must not be told as refused afterwards.
        answer = configured_answer(arrival)
        name = hook.delivery_id(delivery)
        command = hook.transformation.command(
            hook.topic(delivery), delivery, name=name, limits=self._limits.message
        )
        repeats = self._repeats[hook.name]
        # Without a name nothing is a repeat: equal bodies may be meant.
        if name:
            body = b"" if hook.declaration.repeat_by == "id" else delivery.digest
            # Who vouches is the hook, by name; where nobody does, one sender may send the same to several.
            whose = b"" if hook.vouches else f"{hook.name}\0".encode()
            identity = hashlib.sha256(whose + body + name.encode()).digest()
            receipt, repeated = await repeats.publish(command, arrival.principal, identity=identity)
        else:
            receipt, repeated = await repeats.publish_unnamed(command, arrival.principal), False
        verdict = journal.REPEATED if repeated else journal.PUBLISHED
        self._note(arrival, verdict, name=name, topic=command.topic, receipt=receipt)
        return answer or publish_answer(receipt)

    def _note(
        self,
        arrival: Arrival,
        verdict: str,
        *,
        name: str | None = None,
        topic: str | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        outcome = Outcome(
            verdict=verdict,
            address=arrival.address,
            size=len(arrival.delivery.body),
            name=name,
            topic=topic,
            receipt=receipt,
        )
        self.journal.add(arrival.hook.name, outcome)

    def _refuse(self, hook: Hook, delivery: WebhookDelivery, address: str, verdict: Verification) -> None:
        try:
            name = hook.delivery_id(delivery)
        except BadFrame:
            name = None
        outcome = Outcome(
            verdict=journal.REFUSED,
            address=address,
            size=len(delivery.body),
            name=name,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        self.journal.add(hook.name, outcome)
