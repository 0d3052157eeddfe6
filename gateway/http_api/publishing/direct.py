"""Publishing over HTTP without an application: what most requests are, answered where they are read.

Such a request has a topic in its path or an array as its body, JSON, and header fields that say nothing of a
message. What its head means is found out once (``recognise``), its body and what may change in time are
judged each time. Like ``PublishService.submit_plain`` this way has no words for a refusal: wherever anything
is special nothing has changed, and the same request goes the general way, which says why. What can fail
behind that point, a store or the bus, is told here in the same words.
"""

from __future__ import annotations

from asyncio import Future, gather
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.codecs.body import check_content_type, check_depth, is_json
from gateway.core.messages.publication import Publish
from gateway.errors import GatewayError
from gateway.http_api.publishing.endpoints import PUBLISH_PATH, TOPICS_PREFIX
from gateway.http_api.publishing.receipts import failure_object, receipt_object, receipt_status
from gateway.http_api.publishing.topic_path import topic_from_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starlette.responses import Response
    from starlette.types import Scope

    from gateway.auth.credentials import Credentials
    from gateway.auth.principal import Authenticator, Principal
    from gateway.codecs.publish_items import PublishItems
    from gateway.engine.publishing import PublishService, Receipt
    from gateway.http_api.publishing.limits import PublishingLimits

    Field = tuple[bytes, bytes]
    Sender = Principal | str  # somebody whom no request's credential makes another, or the credential
    Outcome = Receipt | Future[Receipt] | GatewayError
    Reply = tuple[int, bytes]
    Make = Callable[[bytes], Reply | "Awaited" | None]

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
_MOST_APPENDED: Final = 48
"""The same where not all are live on this node alone: a store in memory keeps one in ten microseconds."""
_MOST_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Awaited:
    """A ``known_requests.AwaitedReply``."""

    done: Future[Any]
    make: Callable[[], Reply]


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
        refuse: Callable[[GatewayError], Response],
        at_once: bool,
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
            refuse: makes the answer that tells an error.
            at_once: whether what no stream captures is published before the bus returns.
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
        self._refuse = refuse
        self._at_once = at_once
        self._fields = b"".join(b"%b: %b\r\n" % field for field in fields)

    def recognise(self, target: bytes, fields: Sequence[Field]) -> Make | None:
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
                return partial(self._publish_items, sender) if is_json(content_type) else None
            check_content_type(content_type)
            topic = topic_from_path(scope, TOPICS_PREFIX)
        except GatewayError:
            return None
        return partial(self._publish, topic, content_type, sender) if is_json(content_type) else None

    def _sender_of(self, scope: Scope) -> Sender | None:
        token = None if self._credentials is None else self._credentials.find(scope)
        return self._authenticator.anonymous if token is None else token

    def _principal(self, sender: Sender) -> Principal | None:
        """Who it is now: what a token stands for may end, and its subject be blocked."""
        return self._authenticator.known(sender) if isinstance(sender, str) else sender

    def _publish(self, topic: str, content_type: str, sender: Sender, body: bytes) -> Reply | Awaited | None:
        principal = self._principal(sender)
        if principal is None or len(body) > self._message.message_bytes:
            return None
        text = body.strip(_WHITESPACE)
        publisher = self._publisher
        plain = self._at_once and publisher.is_plain(topic, len(text), principal)
        if not plain and not publisher.is_ordinary(topic, len(text), principal):
            return None
        try:
            if len(text) >= self._shallow_bytes:
                check_depth(text, self._message.json_depth)
            orjson.loads(text)
            name = publisher.publish_plain(topic, text, content_type) if plain else None
        except (orjson.JSONDecodeError, GatewayError):
            return None
        self._note_sender(sender)
        if name is not None:
            return 202, self._rest(b'{"id":"%b"}' % name.encode())
        outcome = self._submit(Publish(topic, text, None, content_type), principal)
        if isinstance(outcome, Future):
            return Awaited(outcome, lambda: self._receipt_reply(_result(outcome)))
        return self._receipt_reply(outcome)

    def _publish_items(self, sender: Sender, body: bytes) -> Reply | Awaited | None:
        principal = self._principal(sender)
        if principal is None or len(body) > self._most_bytes:
            return None
        items = self._items.split_plain(body, self._most_items)
        if items is None:
            return None
        publisher = self._publisher
        # No item is larger: each is a part of the body, and within the bound of a message.
        most = min(len(body), self._message.message_bytes)
        plain = self._at_once
        # All are judged before the first is published: one that is special takes the others along.
        for topic in dict(items):
            if not (plain and publisher.is_plain(topic, most, principal)):
                plain = False
                if len(items) > _MOST_APPENDED or not publisher.is_ordinary(topic, most, principal):
                    return None
        self._note_sender(sender)
        if plain:
            names = publisher.publish_all_plain(items)
            return 200, self._rest(b'{"results":[{"id":"%b"}]}' % '"},{"id":"'.join(names).encode())
        outcomes = [self._submit(Publish(topic, data), principal) for topic, data in items]
        awaited = [outcome for outcome in outcomes if isinstance(outcome, Future)]
        if awaited:
            # Each has its own bound in time. Nothing is raised from here: `_result` has what became of each.
            return Awaited(gather(*awaited, return_exceptions=True), lambda: self._items_reply(outcomes))
        return self._items_reply(outcomes)

    def _submit(self, command: Publish, principal: Principal) -> Outcome:
        try:
            return self._publisher.submit(command, principal)
        except GatewayError as error:
            return error

    def _note_sender(self, sender: Sender) -> None:
        if isinstance(sender, str):
            self._authenticator.reused()

    def _receipt_reply(self, outcome: Receipt | GatewayError) -> Reply:
        if isinstance(outcome, GatewayError):
            refusal = self._refuse(outcome)
            fields = b"".join([b"%b: %b\r\n" % field for field in refusal.raw_headers])
            return refusal.status_code, b"%b%b\r\n%b" % (fields, self._fields, bytes(refusal.body))
        return receipt_status(outcome), self._rest(orjson.dumps(receipt_object(outcome)))

    def _items_reply(self, outcomes: Sequence[Outcome]) -> Reply:
        results = []
        for outcome in outcomes:
            known = _result(outcome) if isinstance(outcome, Future) else outcome
            if isinstance(known, GatewayError):
                results.append(failure_object(known))
            else:
                results.append(receipt_object(known))
        return 200, self._rest(orjson.dumps({"results": results}))

    def _rest(self, body: bytes) -> bytes:
        return b"content-length: %d\r\ncontent-type: application/json\r\n%b\r\n%b" % (
            len(body),
            self._fields,
            body,
        )


def _result(done: Future[Receipt]) -> Receipt | GatewayError:
    try:
        return done.result()
    except GatewayError as error:
        return error
