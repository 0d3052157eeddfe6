"""The Redis that joins nodes to one gateway."""

import re
from typing import Annotated, Final
from urllib.parse import unquote, unquote_plus

from pydantic import BeforeValidator, Field, SecretStr

from gateway.settings.secret import fetch_secret
from gateway.settings.section import Section
from gateway.settings.values import Count, Shown, Size, Timeout

_FORM: Final = re.compile(r"(rediss?(\+(sentinel|cluster))?|unix)://\S+")


def _url(value: object) -> SecretStr:
    if isinstance(value, str) and not value.startswith(("env:", "file:")):
        secret = SecretStr(value)
    else:
        secret = fetch_secret(value)
    # The value is not repeated: it may hold a password.
    if not _FORM.fullmatch(secret.get_secret_value()):
        raise ValueError(
            "is not a Redis URL: redis://HOST:PORT/DB, rediss://…, unix://PATH, redis+cluster://HOST:PORT,… "
            "or redis+sentinel://HOST:PORT,…/MASTER"
        )
    return secret


def url_secrets(url: str) -> tuple[str, ...]:
    """Return what must not show of a Redis ``url``: nothing if it holds no password.

    Else all of it, and each password by itself, which may be quoted without the URL around it: as it is
    written there and as it is meant, from before the host and from the query.
    """
    address, _, query = url.partition("://")[2].partition("?")
    arguments = [each.partition("=") for each in query.split("&")]
    written = [value for name, _, value in arguments if name.endswith("password")]
    # The last one is the host's: a password may hold others.
    written.append(address.rpartition("@")[0].partition(":")[2])
    passwords = [form for each in written if each for form in (each, unquote_plus(each), unquote(each))]
    return tuple(dict.fromkeys([url, *passwords])) if passwords else ()


class Redis(Section):
    """What joins any number of nodes to one gateway. Without `url` the node is alone."""

    url: Annotated[SecretStr, BeforeValidator(_url), Shown("URL, or secret")] | None = Field(
        default=None,
        description="`redis://HOST:PORT/DB`, `rediss://…` (TLS), `unix://PATH`, "
        "`redis+cluster://HOST:PORT,…`, `redis+sentinel://HOST:PORT,…/MASTER`. May carry "
        "`USER:PASSWORD@`; then better named as a secret.",
    )
    prefix: str = Field(
        default="gateway",
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="What all channels and keys begin with. Gateways with different prefixes, or different "
        "database numbers in `url`, share a Redis and don't hear one another.",
    )
    partitions: Annotated[Count, Field(le=4096)] = Field(
        default=64,
        description="Channels among which topics are divided, by their first level. The same on all nodes.",
    )
    timeout: Timeout = Field(
        default=1.5,
        description="How long a publish or subscribe waits for Redis before it is answered `unavailable`.",
    )
    silence_timeout: Timeout = Field(
        default=3.0,
        description="How long Redis may not even answer heartbeats until the connection counts as lost.",
    )
    publish_queue_bytes: Size = Field(
        default=16 * 1024 * 1024,
        description="What may wait to be handed to Redis; beyond, publishing gets `rate_limited`.",
    )
    receive_queue_bytes: Size = Field(
        default=32 * 1024 * 1024,
        description="What may have come from Redis and wait to be fanned out; beyond, it is dropped and told "
        "as a gap.",
    )
