"""Tokens that name one lease: opaque to clients, good at every door of every node."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

LONGEST: Final = 512
"""Characters that a token has at most."""

_LARGEST: Final = 2**53 - 1
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_PARTS: Final = re.compile(
    r"([^/]*)/([^/]*)/([1-9][0-9]{0,15})/([1-9][0-9]{0,15})/(.*)", re.ASCII | re.DOTALL
)


class LeaseName(NamedTuple):
    """What a token names.

    Attributes:
        stream: its name, without ``/``.
        group: the same.
        offset: of the publication, from 1.
        fence: of the lease, from 1.
        life: of the group's state.
    """

    stream: str
    group: str
    offset: int
    fence: int
    life: str


def encode_token(name: LeaseName) -> str:
    """The token of a lease."""
    stream, group, offset, fence, life = name
    return (
        urlsafe_b64encode(f"{stream}/{group}/{offset}/{fence}/{life}".encode()).rstrip(b"=").decode("ascii")
    )


def decode_token(token: str) -> LeaseName | None:
    """What a token names; None where it is none of ours."""
    # base64 by itself passes over what is none of its characters.
    if len(token) > LONGEST or _TOKEN.fullmatch(token) is None:
        return None
    try:
        found = _PARTS.fullmatch(urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    except ValueError:
        return None
    if found is None:
        return None
    stream, group, offset, fence, life = found.groups()
    name = LeaseName(stream, group, int(offset), int(fence), life)
    return None if name.offset > _LARGEST or name.fence > _LARGEST else name
