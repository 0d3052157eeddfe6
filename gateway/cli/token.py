"""``gateway token``."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gateway.cli.exits import ExitCode, fail
from gateway.cli.serve import Config, load

if TYPE_CHECKING:
    from gateway.auth.jwt_keys import JwtKey
    from gateway.settings import Auth

Filters: TypeAlias = list[str] | None


def token(
    *,
    sub: Annotated[str, typer.Option(help="Whom the token speaks for.")],
    subscribe: Annotated[
        Filters, typer.Option(metavar="FILTER", help="Grant subscribing to what FILTER covers; may repeat.")
    ] = None,
    publish: Annotated[
        Filters, typer.Option(metavar="FILTER", help="Grant publishing to what FILTER matches; may repeat.")
    ] = None,
    consume: Annotated[
        Filters, typer.Option(metavar="STREAM/GROUP", help="Grant consuming from the group; may repeat.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Grant everything else under /v1.")] = False,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long it is good: 30s, 5m, 1h, 7d.")
    ] = "1h",
    kid: Annotated[str | None, typer.Option(help="Which of auth.keys; else the first that can sign.")] = None,
    config: Config = None,
) -> None:
    """Print a token for trying things out, signed with a key of the settings.

    It needs one of auth.keys with a secret or a private_key. In production an issuer makes the tokens.
    """
    settings = load(config).settings
    claims = {
        "sub": sub,
        "iat": int(time.time()),
        "exp": int(time.time() + _seconds(expires)),
        "gateway": {
            "subscribe": subscribe or [],
            "publish": publish or [],
            "consume": consume or [],
            "admin": admin,
        },
    }
    claims |= {"iss": settings.auth.issuer} if settings.auth.issuer else {}
    claims |= {"aud": settings.auth.audience} if settings.auth.audience else {}
    sys.stdout.write(f"{_signed(claims, _signing_key(settings.auth, kid))}\n")
    if settings.auth.mode == "none":
        sys.stderr.write('gateway: auth.mode is "none": with these settings no token is looked at\n')


def _signed(claims: dict[str, object], key: "JwtKey") -> str:
    from gateway.auth.claims import Expected, principal_of  # noqa: PLC0415 - other commands do without
    from gateway.auth.jwt import MOST_BYTES, sign  # noqa: PLC0415 - as above
    from gateway.errors import Unauthenticated  # noqa: PLC0415 - as above

    payload = json.dumps(claims).encode()
    try:
        # A token that the gateway would refuse helps nobody.
        principal_of(payload, Expected(), now=time.time())
    except Unauthenticated as exc:
        fail(str(exc), ExitCode.USAGE)
    signed = sign(payload, key)
    if len(signed) > MOST_BYTES:
        fail(f"the token would be longer than {MOST_BYTES} bytes", ExitCode.USAGE)
    return signed


def _signing_key(auth: "Auth", kid: str | None) -> "JwtKey":
    from gateway.app.auth import jwt_keys  # noqa: PLC0415 - other commands do without

    try:
        keys = jwt_keys(auth)
    except ValueError as exc:
        fail(f"settings: {exc}", ExitCode.USAGE)
    able = [key for key in keys if key.material.is_private and (kid is None or key.kid == kid)]
    if not able:
        which = "" if kid is None else f" with the kid {kid!r}"
        fail(f"auth.keys has no key{which} that can sign, by a secret or private_key", ExitCode.USAGE)
    return able[0]


def _seconds(text: str) -> float:
    from gateway.settings.values import parse_duration  # noqa: PLC0415 - takes a while

    try:
        return parse_duration(text)
    except ValueError as exc:
        fail(f"--expires: {exc}", ExitCode.USAGE)
