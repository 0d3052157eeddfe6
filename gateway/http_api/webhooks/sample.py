"""A delivery as a hook's sender would make and sign it, to try a hook without its sender.

What ``signatures.py`` and ``tokens.py`` verify, the other way round, from the same declaration. A sample that
nobody gave is made of the places that the hook reads: topic, name, key, conditions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson

from gateway.http_api.webhooks.delivery import FORM_MEDIA_TYPE, WebhookDelivery
from gateway.http_api.webhooks.sources import ANY, Source
from gateway.http_api.webhooks.templates import MissingValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.http_api.webhooks.declaration import ConditionTable, HookDeclaration, Signed
    from gateway.http_api.webhooks.hook import Hook
    from gateway.http_api.webhooks.signatures import SignatureScheme

TEXT: Final = "sample"
"""Stands in every place that a made-up sample fills."""

_PLACEHOLDER: Final = re.compile(r"\{([^{}|]+)(?:\|[^{}]*)?\}")
_IN_SIGNATURE: Final = "signature."
_MOST_ENTRIES: Final = 100


class NoSample(Exception):  # noqa: N818 - says what happened
    """Nobody but the sender can make a delivery of this hook, or not of this body; the text says why."""


@dataclass(frozen=True, slots=True)
class SampleDelivery:
    """What is to be posted; it may hold a secret.

    Attributes:
        headers: by name, in lower case.
        body: the bytes.
        query: what belongs behind the question mark of the hook's URL.
        topic: the one that the hook's template makes of it.
        name: what the hook takes for the delivery's name; None where it has none.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: str = field(repr=False)
    topic: str
    name: str | None


def sample_delivery(
    hook: Hook,
    *,
    url: str,
    now: float,
    name: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> SampleDelivery:
    """Return a delivery that ``hook`` takes for its sender's.

    Args:
        hook: the hook.
        url: the hook's own, without query; its ``public_url`` counts more.
        now: seconds since 1970, the time that is signed.
        name: what the sender calls a made-up delivery.
        body: the sender's; None makes one up. Only what a signature or a token needs is put into it.
        headers: the sender's; they count more than made-up ones.

    Raises:
        NoSample: it can't be made.
    """
    scheme = next((each for each in hook.schemes if each.secrets), None)
    if hook.schemes and scheme is None:
        raise NoSample("its sender signs with a key pair, of which only the sender has the private key")
    draft = _Draft.begin(hook, url, body, headers or {})
    signed = None if scheme is None else scheme.declaration
    if body is None:
        draft.fill(_places(hook.declaration, signed), TEXT)
        draft.fill(_name_places(hook.declaration, signed), name, anew=True)
    for table in ([] if signed is None else [signed.when]) + hook.declaration.require[:1]:
        draft.meet(table)
    if hook.token is not None:
        draft.put(hook.token.place, hook.token.prefix + hook.token.secrets[0])
    if scheme is not None:
        _sign(draft, scheme, now)
    delivery = draft.delivery()
    topic, known_as = hook.topic(delivery), hook.delivery_id(delivery)
    return SampleDelivery(delivery.headers, delivery.body, delivery.query, topic, known_as)


def _sign(draft: _Draft, scheme: SignatureScheme, now: float) -> None:
    signed = scheme.declaration
    timestamp = _written(now, signed.timestamp_format) if signed.timestamp else None
    if timestamp is not None and not signed.timestamp.startswith(_IN_SIGNATURE):
        draft.put(Source.parse(signed.timestamp), timestamp)
    if scheme.digest is not None:
        draft.put(scheme.digest, draft.delivery().digest.hex())
    try:
        text = signed.prefix + scheme.sign(draft.delivery(), timestamp)
    except MissingValue as exc:
        raise NoSample(f"{exc} is signed, and missing") from None
    if signed.timestamp.startswith(_IN_SIGNATURE):
        text = f"{signed.timestamp.removeprefix(_IN_SIGNATURE)}={timestamp}{signed.separator}{text}"
    draft.put(scheme.places[0], text)


@dataclass(slots=True)
class _Draft:
    """A delivery while it is being made; ``value`` is its body as JSON, None where ``raw`` is the body."""

    declaration: HookDeclaration
    url: str
    headers: dict[str, str]
    value: Any
    raw: bytes | None
    is_form: bool
    query: dict[str, str] = field(default_factory=dict)

    @classmethod
    def begin(cls, hook: Hook, url: str, body: bytes | None, headers: Mapping[str, str]) -> _Draft:
        given = {name.lower(): text for name, text in headers.items()}
        is_form = any("{form|" in each.declaration.content for each in hook.schemes)
        value: Any = None
        raw = body
        if body is not None and (is_form or _may_change(hook)):
            value, raw = _parsed(body), None
        given.setdefault("content-type", FORM_MEDIA_TYPE if is_form else "application/json")
        return cls(hook.declaration, hook.declaration.public_url or url, given, value, raw, is_form)

    def fill(self, places: Iterable[Source], text: str, *, anew: bool = False) -> None:
        """Put ``text`` wherever nothing is yet, or ``anew``; a header that was given stays."""
        taken = set(self.headers) if not anew else set()
        for place in places:
            if place.kind == "header" and place.path[0] in taken:
                continue
            self.put(place, text)

    def meet(self, table: ConditionTable) -> None:
        for name, wanted in table.items():
            first = wanted[0] if isinstance(wanted, list) else wanted
            text = str(first).lower() if isinstance(first, bool) else str(first)
            if text:
                self.put(Source.parse(name), text.replace(ANY, TEXT))

    def put(self, place: Source, text: str) -> None:
        if place.kind == "header":
            self.headers[place.path[0]] = text
        elif place.kind == "query":
            self.query[place.path[0]] = text
        elif place.kind == "body":
            if self.raw is not None:
                raise NoSample(f"{place.text} has to be set, and the body is no JSON")
            self.value = _with(self.value, place.path, text)

    def delivery(self) -> WebhookDelivery:
        query = urlencode(self.query)
        return WebhookDelivery(
            self.headers,
            self._bytes(),
            url=f"{self.url}?{query}" if query else self.url,
            query=query,
            reads_forms=self.declaration.form == "json",
            form_field=self.declaration.form_field,
        )

    def _bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        value = {} if self.value is None else self.value
        if not self.is_form:
            return orjson.dumps(value)
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise NoSample("the body becomes a form: it has to be a JSON object of texts")
        return urlencode(value).encode()


def _may_change(hook: Hook) -> bool:
    """Whether something has to be put into the body itself, so that its bytes can't stay as they are."""
    places = [hook.token.place] if hook.token is not None else []
    for scheme in hook.schemes:
        places += [*scheme.places, *([scheme.timestamp] if scheme.timestamp else [])]
    required = (Source.parse(name) for table in hook.declaration.require[:1] for name in table)
    return any(place.kind == "body" for place in (*places, *required))


def _parsed(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NoSample("the body has to be JSON: what vouches for a delivery is inside") from None


def _places(declaration: HookDeclaration, signed: Signed | None) -> Iterator[Source]:
    templates = [declaration.topic, declaration.key, declaration.data, _first_name(declaration)]
    for template in templates if signed is None else [*templates, signed.content]:
        yield from _in_template(template)


def _name_places(declaration: HookDeclaration, signed: Signed | None) -> list[Source]:
    """The places of which the delivery's name is made, but for those that its signature fills."""
    if signed is None:
        vouching = set()
    else:
        named = signed.signature if isinstance(signed.signature, list) else [signed.signature]
        vouching = {*named, signed.timestamp}
    return [place for place in _in_template(_first_name(declaration)) if place.text not in vouching]


def _first_name(declaration: HookDeclaration) -> str:
    return next(iter(declaration.id), "") if isinstance(declaration.id, list) else declaration.id


def _in_template(template: str) -> Iterator[Source]:
    for inside in _PLACEHOLDER.findall(template):
        try:
            yield Source.parse(inside)
        except ValueError:
            continue  # {body}, {timestamp}, {form|sorted}: no place of their own


def _with(value: Any, path: tuple[str, ...], text: str) -> Any:  # noqa: ANN401 - JSON
    """Return ``value`` with ``text`` at ``path``; what is of another kind than the path wants stays."""
    if not path:
        return text if not isinstance(value, dict | list) else value
    name, rest = path[0], path[1:]
    if name == ANY and (value is None or isinstance(value, list)):
        return [_with(each, rest, text) for each in value or [None]]
    if name.isdigit() and int(name) < _MOST_ENTRIES and (value is None or isinstance(value, list)):
        entries = [*(value or []), *([None] * (int(name) + 1 - len(value or [])))]
        entries[int(name)] = _with(entries[int(name)], rest, text)
        return entries
    if value is None or isinstance(value, dict):
        known = value or {}
        return {**known, name: _with(known.get(name), rest, text)}
    return value


def _written(now: float, form: str) -> str:
    if form == "iso":
        return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(int(now * 1000)) if form == "milliseconds" else str(int(now))
