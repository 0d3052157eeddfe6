"""Who may connect, and what they may do."""

import re
from typing import Annotated, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from gateway.core.loopback import is_loopback
from gateway.settings.secret import Secret
from gateway.settings.section import Section
from gateway.settings.values import Duration, Texts

_COOKIE: Final = re.compile(r"(__Host-[A-Za-z0-9_-]{1,64})?", re.ASCII)

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:@-]{1,64}$")]
Filled: TypeAlias = Annotated[str, StringConstraints(min_length=1)]


def _jwks_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.username or parts.password:
        raise ValueError("must be a URL of the form https://host/path, without user and password")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ValueError("must be https: who can change the keys on their way can let anyone in")
    return value


def _cookie(value: str) -> str:
    if not _COOKIE.fullmatch(value):
        raise ValueError('must begin with "__Host-", which keeps other hosts from setting it, or be empty')
    return value


class JwtKey(Section):
    """A key that tokens (JWT) are verified with. It fixes the algorithm: a token can't choose another."""

    algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = Field(
        description="What tokens made with this key are signed by; `EdDSA` is Ed25519."
    )
    secret: Secret | None = Field(default=None, description="Of `HS256`: at least 32 bytes.")
    public_key: Secret | None = Field(
        default=None, description="Of the others: a PEM, `file:PATH`. RSA keys have at least 2048 bits."
    )
    private_key: Secret | None = Field(
        default=None, description="In place of `public_key`, so that `gateway token` can sign. Not encrypted."
    )
    kid: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        default=None,
        description="The key's name. A token that names a key is verified with the key of exactly this name, "
        "one that names none with every key of its algorithm.",
    )

    @model_validator(mode="after")
    def _fits_its_algorithm(self) -> Self:
        pems = [name for name in ("public_key", "private_key") if getattr(self, name) is not None]
        if self.algorithm == "HS256" and (pems or self.secret is None):
            raise ValueError("algorithm 'HS256' needs secret, and no other key")
        if self.algorithm != "HS256" and (self.secret is not None or len(pems) != 1):
            raise ValueError(
                f"algorithm {self.algorithm!r} needs one of public_key and private_key, and no secret"
            )
        return self


class Jwks(Section):
    """Where an issuer publishes its keys. Fetched at start, every 5 minutes, and for an unknown `kid`."""

    url: Annotated[str, AfterValidator(_jwks_url)] = Field(description="Its URL: https, or http on loopback.")
    issuer: Filled | None = Field(
        default=None,
        description="The `iss` that its tokens must have, to the letter; `auth.issuer` if not set.",
    )
    audience: Filled | None = Field(
        default=None,
        description="What their `aud` must name: set it, or tokens meant for the issuer's other services are "
        "good here too. `auth.audience` if not set.",
    )


class ApiKey(Section):
    """A key of a service, made by `gateway key create`."""

    name: Name = Field(description="Its name, and the subject of those who use it. No two keys share one.")
    hash: Filled = Field(description="What `gateway key create` printed; the key itself is kept nowhere.")
    subscribe: Texts = Field(default=(), description="Filters it may subscribe to, and what they cover.")
    publish: Texts = Field(default=(), description="Filters of the topics it may publish to.")
    consume: Texts = Field(
        default=(), description="Groups it may consume from, as filters of `stream/group`."
    )
    admin: bool = Field(default=False, description="Whether it may do everything else under `/v1`.")


class Anonymous(Section):
    """What clients without a credential may do, in mode `optional`."""

    subscribe: Texts = Field(default=(), description="Filters they may subscribe to, and what they cover.")
    publish: Texts = Field(default=(), description="Filters of the topics they may publish to.")
    consume: Texts = Field(
        default=(), description="Groups they may consume from, as filters of `stream/group`."
    )


class Auth(Section):
    """Who may connect, and what they may do: see docs/security.md."""

    mode: Literal["none", "required", "optional"] = Field(
        default="none",
        description="`none`: everyone may do everything, so the gateway listens on loopback only. "
        "`required`: nobody may do anything without a credential. `optional`: without one, what "
        "`[auth.anonymous]` says.",
    )
    expiry_grace: Duration = Field(
        default=10.0,
        description="Time to renew a token that expired while connected; then it is closed with 4401.",
    )
    issuer: Filled | None = Field(default=None, description="The `iss` that tokens must have, to the letter.")
    audience: Filled | None = Field(default=None, description="What the `aud` of tokens must name.")
    cookie: Annotated[str, AfterValidator(_cookie)] = Field(
        default="__Host-gateway",
        description="Cookie that may carry a credential, from pages of an allowed origin only; "
        "empty: none may.",
    )
    token_in_url: bool = Field(
        default=False,
        description="Accept a token in a URL's `access_token`, although URLs end in logs and histories.",
    )
    keys: tuple[JwtKey, ...] = ()
    jwks: Jwks | None = None
    api_keys: tuple[ApiKey, ...] = ()
    anonymous: Anonymous = Anonymous()

    @model_validator(mode="after")
    def _someone_can_come_in(self) -> Self:
        if self.mode != "none" and not (self.keys or self.jwks or self.api_keys):
            raise ValueError(
                f"mode {self.mode!r} needs something to know clients by: "
                "[[auth.keys]], [auth.jwks] or [[auth.api_keys]]"
            )
        return self
