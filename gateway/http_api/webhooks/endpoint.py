"""``POST /v1/hooks/{hook}``: a third party's webhook, verified, then published.

Spec: docs/webhooks.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.routing import Route

from gateway.auth.principal import Principal
from gateway.codecs.body import decode_body
from gateway.core.messages.publication import Publish
from gateway.core.session.idempotency import IdempotencyWindow
from gateway.errors import NotFound, Unauthenticated
from gateway.http_api.bodies import BodyReader
from gateway.http_api.lasting_bodies import read_lasting_body
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.publishing.receipts import json_answer, publish_answer
from gateway.http_api.webhooks.delivery import WebhookDelivery, headers_of
from gateway.http_api.webhooks.signatures import NoSignature, SlackSignature, signature_scheme
from gateway.http_api.webhooks.topic_template import TopicTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.engine.lasting import LastingRequests
    from gateway.engine.publishing import PublishService, Receipt
    from gateway.http_api.authentication import RequestAuthenticator
    from gateway.http_api.webhooks.signatures import SignatureScheme

HOOKS_PREFIX: Final = "/v1/hooks/"
REPEAT_SECONDS: Final = 86_400.0
REPEAT_ENTRIES: Final = 10_000

_NAME: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")


@dataclass(frozen=True, slots=True)
class Hook:
    """One configured webhook."""

    name: str
    scheme: SignatureScheme
    template: TopicTemplate

    @classmethod
    def build(
        cls,
        name: str,
        scheme: str,
        *,
        topic: str,
        secrets: Iterable[str] = (),
        tolerance_seconds: float = 300,
        header: str | None = None,
        algorithm: str = "sha256",
        encoding: str = "hex",
        prefix: str = "",
        id_header: str | None = None,
    ) -> Hook:
        """Make a hook from plain settings; see ``signature_scheme`` and ``TopicTemplate.parse``.

        Raises:
            ValueError: a setting breaks a rule; the text names hook and rule, never a secret.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"hook {name!r}: a name has 1 to 64 letters, digits, '.', '_', '~' or '-'")
        try:
            signature = signature_scheme(
                scheme,
                secrets,
                tolerance_seconds=tolerance_seconds,
                header=header,
                algorithm=algorithm,
                encoding=encoding,
                prefix=prefix,
                id_header=id_header,
            )
            return cls(name, signature, TopicTemplate.parse(topic))
        except ValueError as exc:
            raise ValueError(f"hook {name!r}: {exc}") from exc


@dataclass(frozen=True, slots=True)
class HookStatistics:
    """Counts since the start, by hook.

    Attributes:
        accepted: deliveries published.
        repeated: deliveries answered from memory.
        unverified: deliveries refused for their signature or time.
    """

    accepted: Mapping[str, int]
    repeated: Mapping[str, int]
    unverified: Mapping[str, int]


@dataclass(slots=True)
class _Memory:
    """What one hook remembers of deliveries: their answers, and those that are being published."""

    answers: IdempotencyWindow[Receipt]
    underway: dict[bytes, asyncio.Future[Receipt]] = field(default_factory=dict)


class HookPublishing:
    """The endpoint of all hooks. Each hook has a memory of its own, so a busy one evicts only itself."""

    def __init__(
        self,
        hooks: Iterable[Hook],
        publisher: PublishService,
        authenticate: RequestAuthenticator,
        *,
        lasting: LastingRequests,
        limits: PublishingLimits | None = None,
        bodies: BodyReader | None = None,
        repeat_seconds: float = REPEAT_SECONDS,
        repeat_entries: int = REPEAT_ENTRIES,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hooks = {hook.name: hook for hook in hooks}
        self._publisher = publisher
        self._authenticate = authenticate
        self._lasting = lasting
        self._limits = limits or PublishingLimits()
        self._bodies = bodies or BodyReader()
        self._wall_clock = wall_clock
        self._clock = clock
        self._memories = {
            name: _Memory(IdempotencyWindow(seconds=repeat_seconds, entries=repeat_entries))
            for name in self._hooks
        }
        self._accepted: Counter[str] = Counter()
        self._repeated: Counter[str] = Counter()
        self._unverified: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        """The route of all hooks."""
        return [Route(HOOKS_PREFIX + "{hook}", self.receive, methods=["POST"])]

    def statistics(self) -> HookStatistics:
        """A snapshot for metrics and tests."""
        return HookStatistics(dict(self._accepted), dict(self._repeated), dict(self._unverified))

    async def receive(self, request: Request) -> Response:
        """Verify and publish one delivery; a repeat is answered as the first was."""
        name = request.path_params["hook"]
        hook = self._hooks.get(name)
        if hook is None:
            raise NotFound(f"no hook {name[:64]!r} is configured")
        principal = await self._principal(hook, request)
        body = await self._read(hook, request, principal)
        delivery = WebhookDelivery(headers_of(request.headers.raw), body)
        self._verify(hook, delivery)
        if isinstance(hook.scheme, SlackSignature) and delivery.field("type") == "url_verification":
            return json_answer({"challenge": delivery.field("challenge") or ""})
        return publish_answer(await self._publish_once(hook, delivery, principal))

    async def _principal(self, hook: Hook, request: Request) -> Principal:
        """Who publishes: the hook where a signature vouches for it, else whoever sent the request."""
        if isinstance(hook.scheme, NoSignature):
            return await self._authenticate(request)
        # Its signature speaks for it and its template bounds it: it needs no grants of its own.
        return Principal(subject=f"hook:{hook.name}")

    async def _read(self, hook: Hook, request: Request, principal: Principal) -> bytes:
        limit = self._limits.hook_bytes
        if isinstance(hook.scheme, NoSignature):
            return await read_lasting_body(
                request, principal, limit=limit, lasting=self._lasting, bodies=self._bodies
            )
        # Its signature is looked at when it is whole.
        return await self._bodies.read(request, limit=limit)

    def _verify(self, hook: Hook, delivery: WebhookDelivery) -> None:
        if not hook.scheme.verify(delivery, now=self._wall_clock()):
            self._unverified[hook.name] += 1
            # One answer for everything that may be wrong: it must not help to guess.
            raise Unauthenticated(f"the delivery to hook {hook.name!r} is not signed as it must be")

    async def _publish_once(self, hook: Hook, delivery: WebhookDelivery, principal: Principal) -> Receipt:
        name = hook.scheme.delivery_id(delivery)
        if not name:
            receipt = await self._publisher.publish(self._command(hook, delivery), principal)
            self._accepted[hook.name] += 1
            return receipt
        # The subject, too: an answer that was granted to one must not be had by another who has no grant.
        sender = (principal.subject or "").encode()
        key = hashlib.sha256(delivery.digest + hashlib.sha256(sender).digest() + name.encode()).digest()
        memory = self._memories[hook.name]
        if (known := memory.answers.recall(key, key, now=self._clock())) is not None:
            self._repeated[hook.name] += 1
            return known
        if (underway := memory.underway.get(key)) is not None:
            self._repeated[hook.name] += 1
            return await asyncio.shield(underway)
        return await self._publish_first(hook, delivery, principal, key)

    async def _publish_first(
        self, hook: Hook, delivery: WebhookDelivery, principal: Principal, key: bytes
    ) -> Receipt:
        """Publish, and remember the answer even if the sender hangs up before it is there."""
        memory = self._memories[hook.name]

        def remember(receipt: Receipt) -> None:
            self._accepted[hook.name] += 1
            memory.answers.remember(key, key, receipt, now=self._clock())

        def settle(future: asyncio.Future[Receipt]) -> None:
            del memory.underway[key]
            if not future.cancelled() and future.exception() is None:
                remember(future.result())

        result = self._publisher.submit(self._command(hook, delivery), principal)
        if not isinstance(result, asyncio.Future):
            remember(result)
            return result
        memory.underway[key] = result
        result.add_done_callback(settle)
        return await asyncio.shield(result)

    def _command(self, hook: Hook, delivery: WebhookDelivery) -> Publish:
        content_type = delivery.headers.get("content-type")
        body = decode_body(delivery.body, content_type, depth=self._limits.message.json_depth)
        value = delivery.value if hook.template.needs_body else None
        topic = hook.template.render(delivery.headers, value)
        return Publish(topic, data=body.data, binary=body.binary, content_type=content_type)
