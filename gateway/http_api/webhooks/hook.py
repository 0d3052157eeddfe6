"""One configured webhook: a preset, what the settings say besides, and the keys, as a value that decides.

Whatever is asked of a delivery is answered here without waiting: is it its sender's, is it a question, what
is its topic and its name, what is it answered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import BadFrame
from gateway.http_api.webhooks import verdicts
from gateway.http_api.webhooks.answers import AnswerTemplate, ChallengeRule
from gateway.http_api.webhooks.declaration import (
    CUSTOM,
    HMAC,
    NO_SCHEME,
    HookDeclaration,
    declared,
    merged,
    plain,
)
from gateway.http_api.webhooks.hook_keys import HookKeys, check_needs, check_verifies, schemes_of
from gateway.http_api.webhooks.presets import read_preset
from gateway.http_api.webhooks.sources import Condition, Source
from gateway.http_api.webhooks.templates import Template
from gateway.http_api.webhooks.tokens import SharedToken
from gateway.http_api.webhooks.topic_template import TopicTemplate
from gateway.http_api.webhooks.transformation import Transformation
from gateway.http_api.webhooks.verdicts import VERIFIED, Verification

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.http_api.webhooks.delivery import WebhookDelivery
    from gateway.http_api.webhooks.signatures import SignatureScheme


_NAME: Final = re.compile(r"[A-Za-z0-9._~-]{1,64}")
_PUBLIC_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[!\x22$->@-~]*)?")


@dataclass(frozen=True, slots=True)
class Hook:
    """One configured webhook; make one with ``build``."""

    name: str
    scheme: str
    declaration: HookDeclaration = field(repr=False)
    keys: HookKeys = field(repr=False)
    template: TopicTemplate
    schemes: tuple[SignatureScheme, ...] = field(repr=False)
    token: SharedToken | None = field(repr=False)
    challenges: tuple[ChallengeRule, ...] = field(repr=False)
    required: tuple[Condition, ...] = field(repr=False)
    ignored: tuple[Condition, ...] = field(repr=False)
    answers: tuple[AnswerTemplate, ...] = field(repr=False)
    names: tuple[Template, ...] = field(repr=False)
    transformation: Transformation = field(repr=False)

    @classmethod
    def build(
        cls,
        name: str,
        scheme: str,
        *,
        topic: str = "",
        secrets: Iterable[str] = (),
        public_keys: Iterable[str] = (),
        verify_tokens: Iterable[str] = (),
        tolerance_seconds: float | None = None,
        settings: Mapping[str, Any] | None = None,
        **hmac: str | None,
    ) -> Hook:
        """Make a hook from plain settings.

        Args:
            name: the last part of its path.
            scheme: ``hmac``, ``none``, ``custom``, or a preset's name.
            topic: the template of its topics.
            secrets: what deliveries are signed with, the current one first; none where nothing needs one.
            public_keys: the same of asymmetric signatures.
            verify_tokens: what a challenge must hold.
            tolerance_seconds: how old, or how far ahead, a signed time may be.
            settings: keys of ``HookDeclaration`` that are said besides, or otherwise.
            **hmac: of ``hmac`` and ``none``, see ``plain``.

        Raises:
            ValueError: a setting breaks a rule; the text names hook and rule, never a secret.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"hook {name!r}: a name has 1 to 64 letters, digits, '.', '_', '~' or '-'")
        keys = HookKeys(tuple(secrets), tuple(public_keys), tuple(verify_tokens))
        own = dict(settings or {})
        if topic:
            own["topic"] = topic
        if tolerance_seconds is not None:
            own["tolerance"] = tolerance_seconds
        try:
            if scheme in {HMAC, NO_SCHEME, CUSTOM}:
                base = plain(scheme, **hmac)
                needs: tuple[str, ...] = ("secret",) if scheme == HMAC else ()
            else:
                preset = read_preset(scheme)
                base, needs = dict(preset.settings), preset.needs
            declaration = declared(merged(base, own))
            check_needs(scheme, needs, keys, declaration)
            return cls._of(name, scheme, declaration, keys)
        except ValueError as exc:
            raise ValueError(f"hook {name!r}: {exc}") from None

    @classmethod
    def _of(cls, name: str, scheme: str, declaration: HookDeclaration, keys: HookKeys) -> Hook:
        token = None
        if declaration.token is not None:
            if not keys.secrets:
                raise ValueError(f"scheme {scheme!r} needs a secret")
            token = SharedToken(
                Source.parse(declaration.token.value), tuple(keys.secrets), declaration.token.prefix
            )
        schemes = schemes_of(scheme, declaration, keys)
        check_verifies(scheme, keys, verifies=bool(schemes or token))
        if declaration.public_url and not _PUBLIC_URL.fullmatch(declaration.public_url):
            raise ValueError("public_url is the hook's URL as its sender has it, without query")
        answers = declaration.answer if isinstance(declaration.answer, list) else [declaration.answer]
        names = declaration.id if isinstance(declaration.id, list) else [declaration.id]
        return cls(
            name,
            scheme,
            declaration,
            keys,
            TopicTemplate.parse(declaration.topic),
            schemes,
            token,
            tuple(
                ChallengeRule.build(each, verify_tokens=keys.verify_tokens) for each in declaration.challenges
            ),
            _conditions("require", declaration.require),
            _conditions("ignore", declaration.ignore),
            tuple(AnswerTemplate.build(each) for each in answers),
            tuple(Template.parse(text) for text in names if text),
            Transformation.build(declaration),
        )

    @property
    def vouches(self) -> bool:
        """Whether a delivery that is verified needs no credential of the gateway's."""
        return self.scheme != NO_SCHEME

    @property
    def verification(self) -> list[str]:
        """How a delivery is verified: algorithms of signatures, and ``token``; nothing for none."""
        signed = self.declaration.signed
        algorithms = {each.algorithm for each in (signed if isinstance(signed, list) else [signed])}
        return sorted(algorithms) + ([] if self.token is None else ["token"])

    @property
    def methods(self) -> frozenset[str]:
        """Those of the requests that it answers."""
        return frozenset({"POST"}).union(*(each.methods for each in self.challenges))

    def certificate_urls(self, delivery: WebhookDelivery, *, now: float) -> set[str]:
        """Return the URLs of certificates without which a delivery can't be verified."""
        found = (each.certificate_url(delivery, now=now) for each in self._fitting(delivery))
        return {url for url in found if isinstance(url, str)}

    def verify(
        self, delivery: WebhookDelivery, *, now: float, certificates: Mapping[str, bytes | None] | None = None
    ) -> Verification:
        """Whether a delivery is its sender's.

        Args:
            delivery: as it came.
            now: seconds since 1970.
            certificates: by URL, what ``certificate_urls`` lead to; None where one can't be had.
        """
        verdict = self._signed(delivery, now, certificates or {})
        if verdict and self.token is not None:
            verdict = self.token.verify(delivery)
        if not verdict:
            return verdict
        try:
            if self.required and not any(each.fits(delivery) for each in self.required):
                return Verification(verdicts.NOT_REQUIRED, "it is not what 'require' asks for")
        except BadFrame as exc:
            return Verification(verdicts.NOT_REQUIRED, str(exc))
        return VERIFIED

    def challenge(self, delivery: WebhookDelivery, *, verified: bool) -> ChallengeRule | None:
        """Return the question that a delivery is, None where it is none.

        Raises:
            BadFrame: a value that it is told by is no text.
        """
        fitting = (each for each in self.challenges if each.is_meant(delivery, verified=verified))
        return next(fitting, None)

    def ignores(self, delivery: WebhookDelivery) -> bool:
        """Whether a delivery is answered and not published.

        Raises:
            BadFrame: a value that it is told by is no text.
        """
        return any(each.fits(delivery) for each in self.ignored)

    def answer(self, delivery: WebhookDelivery) -> AnswerTemplate | None:
        """Return what a delivery is answered, None where it is what publishing answers.

        Raises:
            BadFrame: a value that it is told by is no text.
        """
        return next((each for each in self.answers if each.when.fits(delivery)), None)

    def delivery_id(self, delivery: WebhookDelivery) -> str | None:
        """What the sender calls a delivery, None where it has no name.

        Raises:
            BadFrame: it is no text.
        """
        name = next((name for each in self.names if (name := each.render_text(delivery))), None)
        return None if name is None else self._in_one_writing(name, delivery)

    def _in_one_writing(self, name: str, delivery: WebhookDelivery) -> str:
        """A name made of the signature, which verifies in capitals too and is the same delivery then."""
        for scheme in self.schemes:
            if scheme.declaration.encoding == "hex":
                for place in scheme.places:
                    if text := place.read(delivery):
                        name = name.replace(text, "".join(text.lower().split()))
        return name

    def topic(self, delivery: WebhookDelivery) -> str:
        """Return the topic that a delivery is published on."""
        value = delivery.value if self.template.needs_body else None
        return self.template.render(delivery.headers, value)

    def _fitting(self, delivery: WebhookDelivery) -> Sequence[SignatureScheme]:
        try:
            return [each for each in self.schemes if each.when.fits(delivery)]
        except BadFrame:
            return ()

    def _signed(
        self, delivery: WebhookDelivery, now: float, certificates: Mapping[str, bytes | None]
    ) -> Verification:
        if not self.schemes:
            return VERIFIED
        refusals = []
        for scheme in self._fitting(delivery):
            url = scheme.certificate_url(delivery, now=now)
            if isinstance(url, Verification):
                refusals.append(url)
                continue
            certificate = None if url is None else certificates.get(url)
            verification = scheme.verify(delivery, now=now, certificate=certificate)
            if verification:
                return verification
            refusals.append(verification)
        if not refusals:
            return Verification(verdicts.SIGNATURE_FORM, "it fits none of the ways to sign")
        return max(refusals, key=lambda each: each.progress)


def _conditions(key: str, tables: Sequence[Mapping[str, object]]) -> tuple[Condition, ...]:
    if not all(tables):
        raise ValueError(f"{key}: an empty table fits every delivery")
    return tuple(Condition.parse(each) for each in tables)
