"""What a hook verifies with: secrets and keys, and whether they are what its scheme needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.http_api.webhooks.declaration import NO_SCHEME, HookDeclaration, Signed
from gateway.http_api.webhooks.signatures import SignatureScheme

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class HookKeys:
    """What deliveries are verified with, each as it stands in the settings, the current one first.

    Attributes:
        secrets: of HMACs and tokens.
        public_keys: of asymmetric signatures.
        verify_tokens: what a challenge must hold.
    """

    secrets: Sequence[str] = field(default=(), repr=False)
    public_keys: Sequence[str] = ()
    verify_tokens: Sequence[str] = field(default=(), repr=False)


def check_needs(scheme: str, needs: Sequence[str], keys: HookKeys, declaration: HookDeclaration) -> None:
    """See that what a preset ``needs`` is there.

    Raises:
        ValueError: it is not, or a key is empty.
    """
    given = {
        "secret": keys.secrets,
        "public_key": keys.public_keys,
        "verify_token": keys.verify_tokens,
        "require": declaration.require,
        "public_url": declaration.public_url,
    }
    for name in needs:
        if not given[name]:
            article = "a " if name == "secret" else ""
            raise ValueError(f"scheme {scheme!r} needs {article}{name}: see docs/webhooks.md")
    if not all([*keys.secrets, *keys.public_keys, *keys.verify_tokens]):
        raise ValueError("no secret, key or token may be empty")


def check_verifies(scheme: str, keys: HookKeys, *, verifies: bool) -> None:
    """See that a hook verifies something, and that one of the scheme ``none`` does not seem to.

    Raises:
        ValueError: it is the other way round.
    """
    if scheme == NO_SCHEME and (keys.secrets or verifies):
        raise ValueError(
            "scheme 'none' verifies nothing and takes no secret; 'custom' takes signed and token"
        )
    if scheme != NO_SCHEME and not verifies:
        raise ValueError(f"scheme {scheme!r} needs a secret, or a public_key, for what it has to verify")


def schemes_of(scheme: str, declaration: HookDeclaration, keys: HookKeys) -> tuple[SignatureScheme, ...]:
    """The ways to sign for which there are keys.

    Raises:
        ValueError: one breaks a rule, or there are keys for none.
    """
    given = [declaration.signed] if isinstance(declaration.signed, Signed) else declaration.signed
    schemes = [
        SignatureScheme.build(
            each,
            secrets=keys.secrets,
            public_keys=keys.public_keys,
            tolerance_seconds=declaration.tolerance,
        )
        for each in given
    ]
    usable = tuple(each for each in schemes if each.has_keys)
    if schemes and not usable:
        needed = "a secret" if schemes[0].declaration.algorithm.startswith("hmac-") else "a public_key"
        raise ValueError(f"scheme {scheme!r} needs {needed}")
    return usable
