"""The webhooks that are taken in."""

from collections.abc import Collection
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from gateway.settings.secret import Secrets, one_or_several
from gateway.settings.section import Section
from gateway.settings.values import Shown, Texts, Timeout

HookScheme: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$"), Shown("name of a scheme")
]
Table: TypeAlias = Annotated[dict[str, Any], Shown("table")]
Tables: TypeAlias = Annotated[tuple[dict[str, Any], ...], Shown("list of tables")]
TableOrTables: TypeAlias = Annotated[
    dict[str, Any] | tuple[dict[str, Any], ...], Shown("table, or list of tables")
]
PublicKeys: TypeAlias = Annotated[
    tuple[str, ...], BeforeValidator(one_or_several), Shown("text, or list of texts")
]

# RFC 9110, 5.6.2: a field name is a token.
_HEADER_NAME: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
HeaderName: TypeAlias = Annotated[
    str, StringConstraints(pattern=_HEADER_NAME, max_length=128), Shown("header name")
]

_SPECIFIC: Final = {
    "header": {"hmac"},
    "algorithm": {"hmac"},
    "encoding": {"hmac"},
    "prefix": {"hmac"},
    "delivery_id": {"hmac", "none"},
}
_NEEDS_SECRET: Final = {"github", "stripe", "slack", "hmac"}
_DECLARED: Final = {
    "tolerance", "signed", "token", "challenges", "require", "ignore", "answer", "id", "keep_id",
    "repeat_by", "key", "headers", "form", "form_field", "data", "content_type", "public_url", "dedupe",
}  # fmt: skip


class Hook(Section):
    """One `POST /v1/hooks/{name}`: a third party's webhook, published on a topic made from its delivery."""

    name: str = Field(
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="The last part of the path: small letters, digits, `-`, `_`. No two hooks share one.",
    )
    scheme: HookScheme = Field(
        description="How a delivery is verified: a preset's name, as `github`, `stripe`, `slack` or "
        "`standard` (Standard Webhooks); `hmac` is any HMAC in a header; `custom` is what `signed` and "
        "`token` say; `none` checks nothing."
    )
    secret: Secrets = Field(
        default=(),
        description="What deliveries are signed with, or hold; several while an old one is replaced. "
        "Needed by most schemes.",
    )
    public_key: PublicKeys = Field(
        default=(),
        description="What deliveries are signed with, where the sender has a key pair: a PEM, base64 of its "
        "DER, or of Ed25519 its 32 bytes in hex or base64.",
    )
    verify_token: Secrets = Field(
        default=(), description="What a sender's challenge must hold, where it holds something of the kind."
    )
    topic: str = Field(
        default="",
        description="Template of the topic: `github/{body.repository.full_name}/{header.x-github-event}`. "
        "Without it that of the preset.",
    )
    tolerance: Timeout = Field(
        default=300.0, description="How far a signed timestamp may be from now, where the scheme has one."
    )
    header: HeaderName | None = Field(
        default=None, description="Scheme `hmac`: the header that holds the signature. Needed."
    )
    algorithm: Literal["sha256", "sha1", "sha512"] = Field(
        default="sha256", description="Scheme `hmac`: the hash."
    )
    encoding: Literal["hex", "base64"] = Field(
        default="hex", description="Scheme `hmac`: how the signature is written."
    )
    prefix: str = Field(
        default="", description="Scheme `hmac`: what stands before the signature, such as `sha256=`."
    )
    delivery_id: HeaderName | None = Field(
        default=None,
        description="Schemes `hmac` and `none`: the header by which a repeated delivery is known. "
        "The other schemes have `id`.",
    )

    signed: TableOrTables = Field(
        default=(), description="What is signed and where the signature is; see [webhooks](webhooks.md)."
    )
    token: Table | None = Field(default=None, description="Where a shared secret is: `value`, `prefix`.")
    challenges: Tables = Field(
        default=(), description="Questions by which the sender makes sure of the hook."
    )
    require: Tables = Field(
        default=(), description="Values of which a delivery must have those of one table; others are refused."
    )
    ignore: Tables = Field(
        default=(),
        description="Values by which a delivery is answered and not published, as "
        '`[{"header.x-github-event" = "ping"}]`.',
    )
    answer: TableOrTables = Field(
        default=(), description="What a delivery is answered instead of what publishing answers."
    )
    id: Annotated[Texts, BeforeValidator(one_or_several)] = Field(
        default=(),
        description="Templates of a delivery's name, of which the first that has all its values counts; by "
        "it a repeat is known.",
    )
    keep_id: bool = Field(default=False, description="That name is the message's `id`.")
    repeat_by: Literal["id_and_body", "id"] = Field(
        default="id_and_body",
        description="What makes a repeat: name and body, or the name alone where the body is not signed.",
    )
    key: str = Field(default="", description="Template of the message's `key`, for order in groups.")
    headers: Texts = Field(default=(), description="Request headers that become message headers.")
    form: Literal["bytes", "json"] = Field(
        default="bytes", description="What a form is published as: the bytes, or a JSON object of its fields."
    )
    form_field: str = Field(
        default="",
        description='With `form = "json"`: the field that holds JSON, which is published instead.',
    )
    data: str = Field(
        default="", description="The part of the JSON body that is the message, as `{body.object}`."
    )
    content_type: str = Field(default="", description="The message's, whatever the sender says.")
    public_url: str = Field(
        default="",
        description="The hook's URL as its sender has it, without query, where a proxy has changed it and "
        "the sender signs it.",
    )
    dedupe: Timeout = Field(default=86400.0, description="How long a delivery's name is remembered.")

    def declared(self) -> dict[str, Any]:
        """What is said besides the scheme, or otherwise: the keys that presets have too."""
        said = self.model_fields_set & _DECLARED
        return {key: getattr(self, key) for key in sorted(said)}

    def keys_in_force(self) -> Collection[str]:
        """All but what the scheme says where the hook doesn't: written out it would be said here."""
        unsaid = (_DECLARED | _SPECIFIC.keys() | {"topic"}) - self.model_fields_set
        return [key for key in type(self).model_fields if key not in unsaid]

    @model_validator(mode="after")
    def _fits_its_scheme(self) -> Self:
        if self.scheme == "none" and self.secret:
            raise ValueError("scheme 'none' checks no signature: leave out secret, or choose another scheme")
        if self.scheme in _NEEDS_SECRET and not self.secret:
            raise ValueError(f"scheme {self.scheme!r} needs a secret")
        if self.scheme in {"hmac", "none", "custom"} and not self.topic:
            raise ValueError(f"scheme {self.scheme!r} needs a topic: it is no preset, which would have one")
        if self.scheme == "hmac" and self.header is None:
            raise ValueError("scheme 'hmac' needs header, the one that holds the signature")
        for key, schemes in _SPECIFIC.items():
            if key in self.model_fields_set and self.scheme not in schemes:
                raise ValueError(f"scheme {self.scheme!r} has no {key}, only {', '.join(sorted(schemes))}")
        return self
