"""The webhooks that are taken in."""

from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import Field, StringConstraints, model_validator

from gateway.settings.secret import Secrets
from gateway.settings.section import Section
from gateway.settings.values import Shown, Timeout

HookScheme: TypeAlias = Literal["github", "stripe", "slack", "standard", "hmac", "none"]

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


class Hook(Section):
    """One `POST /v1/hooks/{name}`: a third party's webhook, published on a topic made from its delivery."""

    name: str = Field(
        pattern=r"^[a-z0-9_-]{1,64}$",
        description="The last part of the path: small letters, digits, `-`, `_`. No two hooks share one.",
    )
    scheme: HookScheme = Field(
        description="How a delivery is signed: as a known sender does; `standard` is Standard Webhooks; "
        "`hmac` is any other HMAC in a header; `none` checks nothing."
    )
    secret: Secrets = Field(
        default=(),
        description="What deliveries are signed with; several while an old one is replaced. "
        "Needed by every scheme but `none`.",
    )
    topic: str = Field(
        min_length=1,
        description="Template of the topic: `github/{body.repository.full_name}/{header.x-github-event}`.",
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
        "The other schemes have their own.",
    )

    @model_validator(mode="after")
    def _fits_its_scheme(self) -> Self:
        if self.scheme == "none" and self.secret:
            raise ValueError("scheme 'none' checks no signature: leave out secret, or choose another scheme")
        if self.scheme != "none" and not self.secret:
            raise ValueError(f"scheme {self.scheme!r} needs a secret")
        if self.scheme == "hmac" and self.header is None:
            raise ValueError("scheme 'hmac' needs header, the one that holds the signature")
        for key, schemes in _SPECIFIC.items():
            if key in self.model_fields_set and self.scheme not in schemes:
                raise ValueError(f"scheme {self.scheme!r} has no {key}, only {', '.join(sorted(schemes))}")
        return self
