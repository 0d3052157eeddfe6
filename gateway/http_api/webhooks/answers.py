"""What senders are answered, and the questions by which they make sure of a hook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import orjson

from gateway.http_api.webhooks import verdicts
from gateway.http_api.webhooks.sources import Condition, Source
from gateway.http_api.webhooks.templates import MissingValue, Signing, Template
from gateway.http_api.webhooks.tokens import SharedToken
from gateway.http_api.webhooks.url_patterns import UrlPatterns
from gateway.http_api.webhooks.verdicts import VERIFIED, Verification

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.http_api.webhooks.declaration import Answer, Challenge
    from gateway.http_api.webhooks.delivery import WebhookDelivery

LONGEST_ANSWER: Final = 16_384

_PLAIN: Final = "text/plain; charset=utf-8"
_SUCCESS: Final = range(200, 300)
_WITHOUT_BODY: Final = {204, 205}
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1024}")
_MEDIA_TYPE: Final = re.compile(r"[\x20-\x7e]{1,128}")
# No character of which the content of a signature could be made: JSON needs braces, others dots or colons.
_CHALLENGE_TOKEN: Final = re.compile(r"[A-Za-z0-9_=-]{1,256}")
_Tree: TypeAlias = "Template | dict[str, _Tree] | list[_Tree] | int | float | bool | None"


class BadAnswer(Exception):  # noqa: N818 - says what happened; it never leaves this room
    """An answer can't be made of this delivery; the text says why."""


@dataclass(frozen=True, slots=True)
class RenderedAnswer:
    """An answer as it goes out; ``content_type`` is None where there is no body."""

    status: int
    body: bytes
    content_type: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AnswerTemplate:
    """One configured answer; make one with ``build``."""

    when: Condition
    status: int
    content_type: str | None
    text: Template | None
    json: _Tree
    headers: tuple[tuple[str, Template], ...]

    @classmethod
    def build(cls, declaration: Answer) -> AnswerTemplate:
        """Make an answer of what is declared.

        Raises:
            ValueError: a rule is broken.
        """
        text, tree, status = declaration.text, declaration.json, declaration.status
        if status not in _SUCCESS:
            raise ValueError(f"answer.status {status} is none of {_SUCCESS.start} to {_SUCCESS.stop - 1}")
        if text is not None and tree is not None:
            raise ValueError("an answer has text or json, not both")
        if status in _WITHOUT_BODY and (text or tree is not None):
            raise ValueError(f"an answer of status {status} has no body")
        content_type = declaration.content_type or ("application/json" if tree is not None else _PLAIN)
        template = None if text is None else Template.parse(text)
        if not _MEDIA_TYPE.fullmatch(content_type):
            raise ValueError("answer.content_type has up to 128 printable characters")
        # What a sender wrote must not be taken for a page of ours.
        media_type = content_type.partition(";")[0].strip()
        if template is not None and not template.is_fixed and media_type != "text/plain":
            raise ValueError("an answer whose text holds a sender's value is text/plain")
        return cls(
            Condition.parse(declaration.when),
            status,
            None if text in {None, ""} and tree is None and not declaration.content_type else content_type,
            template,
            None if tree is None else _tree(tree),
            tuple((_header_name(name), Template.parse(each)) for name, each in declaration.headers.items()),
        )

    @property
    def signed_places(self) -> tuple[str, ...]:
        """The places of a delivery whose HMAC is answered."""
        templates = [self.text, *_templates(self.json), *(template for _, template in self.headers)]
        return tuple(place for each in templates if each is not None for place in each.signed_places)

    def render(self, delivery: WebhookDelivery, secrets: Sequence[bytes]) -> RenderedAnswer:
        """Return the answer to a delivery.

        Raises:
            BadAnswer: a value is missing, too long, or can't be in a header.
            BadFrame: a value is no text.
        """
        signing = Signing(secrets=secrets)
        try:
            body = b"" if self.text is None else self.text.render(delivery, signing)
            if self.json is not None:
                body = orjson.dumps(_rendered(self.json, delivery, signing))
            headers = {name: each.render(delivery, signing).decode("latin-1") for name, each in self.headers}
        except MissingValue as exc:
            raise BadAnswer(f"{exc} is missing") from None
        if len(body) > LONGEST_ANSWER:
            raise BadAnswer(f"the answer would have more than {LONGEST_ANSWER} bytes")
        if not all(_HEADER_VALUE.fullmatch(value) for value in headers.values()):
            raise BadAnswer("a value can't be in a header")
        return RenderedAnswer(self.status, body, self.content_type, headers)


@dataclass(frozen=True, slots=True, repr=False)
class ChallengeRule:
    """One question that a sender may ask; make one with ``build``."""

    methods: frozenset[str]
    when: Condition
    verified: bool
    token: SharedToken | None
    confirm: Source | None
    confirm_urls: UrlPatterns
    answer: AnswerTemplate
    signed: tuple[Source, ...]

    @classmethod
    def build(cls, declaration: Challenge, *, verify_tokens: Sequence[str]) -> ChallengeRule:
        """Make a rule of what is declared.

        Raises:
            ValueError: a rule is broken, or its token has nothing to be compared with.
        """
        answer = AnswerTemplate.build(declaration.answer)
        if declaration.token and not verify_tokens:
            raise ValueError("its challenge needs verify_token")
        if declaration.confirm and not (declaration.verified and declaration.confirm_urls):
            raise ValueError("challenges.confirm needs confirm_urls, and only what is verified is confirmed")
        if declaration.answer.when:
            raise ValueError("a challenge's answer has no 'when': the challenge has")
        token = (
            SharedToken(Source.parse(declaration.token), tuple(verify_tokens)) if declaration.token else None
        )
        return cls(
            frozenset(declaration.methods),
            Condition.parse(declaration.when),
            declaration.verified,
            token,
            Source.parse(declaration.confirm) if declaration.confirm else None,
            UrlPatterns.parse(declaration.confirm_urls),
            answer,
            tuple(Source.parse(place) for place in answer.signed_places),
        )

    def is_meant(self, delivery: WebhookDelivery, *, verified: bool) -> bool:
        """Whether a delivery, which is ``verified`` or not yet, is this question.

        Raises:
            BadFrame: a value that it is told by is no text.
        """
        return self.verified == verified and delivery.method in self.methods and self.when.fits(delivery)

    def verify(self, delivery: WebhookDelivery) -> Verification:
        """Whether it may be answered.

        Raises:
            BadFrame: a value is no text.
        """
        if self.token is not None and not (verdict := self.token.verify(delivery)):
            return verdict
        # Whoever may have anything signed could have a delivery signed.
        if not self.verified:
            for place in self.signed:
                if not _CHALLENGE_TOKEN.fullmatch(place.read(delivery) or ""):
                    return Verification(verdicts.CHALLENGE, f"{place.text} holds more than a token may")
        return VERIFIED

    def confirm_url(self, delivery: WebhookDelivery) -> str | Verification | None:
        """Return the URL that has to be fetched, None where none has to."""
        if self.confirm is None:
            return None
        url = self.confirm.read(delivery)
        if url is None or not self.confirm_urls.allow(url):
            return Verification(verdicts.CHALLENGE, f"{self.confirm.text} is no URL of the sender's")
        return url


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"answer.headers: {name!r} is no header's name")
    return name


def _tree(value: object) -> _Tree:
    if isinstance(value, str):
        return Template.parse(value)
    if isinstance(value, dict):
        return {key: _tree(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_tree(each) for each in value]
    if value is None or isinstance(value, int | float):
        return value
    raise ValueError("answer.json holds texts, numbers, booleans, lists and tables")


def _templates(tree: _Tree) -> list[Template]:
    if isinstance(tree, Template):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [template for each in parts for template in _templates(each)]


def _rendered(tree: _Tree, delivery: WebhookDelivery, signing: Signing) -> object:
    if isinstance(tree, Template):
        return tree.render(delivery, signing).decode(errors="replace")
    if isinstance(tree, dict):
        return {key: _rendered(each, delivery, signing) for key, each in tree.items()}
    if isinstance(tree, list):
        return [_rendered(each, delivery, signing) for each in tree]
    return tree
