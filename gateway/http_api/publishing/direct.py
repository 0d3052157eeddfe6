"""Publishing over HTTP without an application: what most requests are, answered where they are read.

Such a request has a topic in its path or an array as its body, JSON, and header fields that say nothing of a
message. What its head means is found out once (``recognise``), its body and what may change in time are
judged each time. Like ``PublishService.submit_plain`` this way has no words for a refusal: wherever anything
is special nothing has changed, and the same request goes the general way, which says why.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import orjson

from gateway.codecs.body import check_content_type, check_depth, is_json
from gateway.errors import GatewayError
from gateway.http_api.publishing.endpoints import PUBLISH_PATH, TOPICS_PREFIX
from gateway.http_api.publishing.topic_path import topic_from_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starlette.types import Scope

    from gateway.auth.credentials import Credentials
    from gateway.auth.principal import Authenticator, Principal
    from gateway.codecs.publish_items import PublishItems
    from gateway.engine.publishing import PublishService
    from gateway.http_api.publishing.limits import PublishingLimits

    Field = tuple[bytes, bytes]
    Sender = Principal | str  # somebody whom no request's credential makes another, or the credential
    Make = Callable[[bytes], bytes | None]

# What is named here changes nothing about an answer, or is looked at here. All other fields may: a new one
# that the endpoints look at is passed on to them without being entered anywhere.
_ORDINARY: Final = frozenset(
    b"""
    accept accept-charset accept-encoding accept-language authorization cache-control connection
    content-length content-type date forwarded from host pragma priority user-agent via
    x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-real-ip
    """.split()
)
_WHITESPACE: Final = b" \t\r\n"
# What an array may have here, since its items are published without a pause: less than a millisecond.
_MOST_ITEMS: Final = 128
_MOST_BYTES: Final = 65_536


class DirectPublishing:
    """Recognises requests to publish; a ``known_requests.RequestDoor``."""

    def __init__(
        self,
        publisher: PublishService,
        authenticator: Authenticator,
        credentials: Credentials | None,
        *,
        checks: Sequence[Callable[[Scope], None]],
        items: PublishItems,
        limits: PublishingLimits,
        fields: Iterable[Field],
    ) -> None:
        """Make the door.

        Args:
            publisher: publishes.
            authenticator: knows who sends.
            credentials: where they may be; None looks at none. Asking has no effect.
            checks: what the application's middleware does with the scope of a request, in its order, without
                another effect than to raise ``GatewayError`` where the request goes no further.
            items: knows what items of arrays begin with.
            limits: of one request.
            fields: header fields that each answer has.
        """
        self._publisher = publisher
        self._authenticator = authenticator
        self._credentials = credentials
        self._checks = checks
        self._items = items
        self._message = limits.message
        self._most_items = min(limits.batch_items, _MOST_ITEMS)
        self._most_bytes = min(limits.batch_bytes, _MOST_BYTES)
        self._shallow_bytes = 2 * limits.message.json_depth  # less can't be too deep
        self._fields = b"".join(b"%b: %b\r\n" % field for field in fields)

    def recognise(self, target: bytes, fields: Sequence[Field]) -> tuple[int, Make] | None:
        """See ``RequestDoor``."""
        named = dict(fields)
        if b"?" in target or not _ORDINARY.issuperset(named):
            return None
        scope = {
            "type": "http",
            "method": "POST",
            "path": target.decode("latin-1"),
            "raw_path": target,
            "query_string": b"",
            "headers": fields,
        }
        try:
            for check in self._checks:
                check(scope)
            sender = self._sender_of(scope)
            if sender is None:
                return None
            content_type = named.get(b"content-type", b"").decode("latin-1")
            if target == PUBLISH_PATH.encode():
                return (200, partial(self._publish_items, sender)) if is_json(content_type) else None
            check_content_type(content_type)
            topic = topic_from_path(scope, TOPICS_PREFIX)
        except GatewayError:
            return None
        return (202, partial(self._publish, topic, content_type, sender)) if is_json(content_type) else None

    def _sender_of(self, scope: Scope) -> Sender | None:
        token = None if self._credentials is None else self._credentials.find(scope)
        return self._authenticator.anonymous if token is None else token

    def _principal(self, sender: Sender) -> Principal | None:
        """Who it is now: what a token stands for may end, and its subject be blocked."""
        return self._authenticator.known(sender) if isinstance(sender, str) else sender

    def _publish(self, topic: str, content_type: str, sender: Sender, body: bytes) -> bytes | None:
        principal = self._principal(sender)
        if principal is None:
            return None
        text = body.strip(_WHITESPACE)
        publisher = self._publisher
        if len(body) > self._message.message_bytes or not publisher.is_plain(topic, len(text), principal):
            return None
        try:
            if len(text) >= self._shallow_bytes:
                check_depth(text, self._message.json_depth)
            orjson.loads(text)
            name = publisher.publish_plain(topic, text, content_type)
        except (orjson.JSONDecodeError, GatewayError):
            return None
        return self._answer(b'{"id":"%b"}' % name.encode(), sender)

    def _publish_items(self, sender: Sender, body: bytes) -> bytes | None:
        principal = self._principal(sender)
        if principal is None or len(body) > self._most_bytes:
            return None
        items = self._items.split_plain(body, self._most_items)
        if items is None:
            return None
        publisher = self._publisher
        # All are judged before the first is published: one that is special takes the others along.
        largest = max([len(data) for _, data in items])
        for topic in {topic for topic, _ in items}:
            if not publisher.is_plain(topic, largest, principal):
                return None
        names = publisher.publish_all_plain(items)
        return self._answer(b'{"results":[{"id":"%b"}]}' % '"},{"id":"'.join(names).encode(), sender)

    def _answer(self, body: bytes, sender: Sender) -> bytes:
        if isinstance(sender, str):
            self._authenticator.reused()
        return b"content-length: %d\r\ncontent-type: application/json\r\n%b\r\n%b" % (
            len(body),
            self._fields,
            body,
        )
