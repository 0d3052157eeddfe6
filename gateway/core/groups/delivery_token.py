"""Tokens that name one lease: opaque to clients, good at every door of every node."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import Final, NamedTuple

LONGEST: Final = 512
"""Characters that a token has at most."""

_LARGEST: Final = 2**53 - 1
_TOKEN: Final = re.compile(r"([A-Za-z0-9_-]+)\.([1-9][0-9]{0,15})\.([1-9][0-9]{0,15})", re.ASCII)
_GROUPS: Final = 1024
"""How many groups' beginnings of tokens are remembered: one is the same in all tokens of a group."""


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
    return f"{_beginning(stream, group, life)}.{offset}.{fence}"


def decode_token(token: str) -> LeaseName | None:
    """What a token names; None where it is none of ours."""
    if len(token) > LONGEST or (found := _TOKEN.fullmatch(token)) is None:
        return None
    beginning, offset, fence = found.groups()
    if (group := _group_of(beginning)) is None:
        return None
    name = LeaseName(group[0], group[1], int(offset), int(fence), group[2])
    return None if name.offset > _LARGEST or name.fence > _LARGEST else name


@lru_cache(_GROUPS)
def _beginning(stream: str, group: str, life: str) -> str:
    return urlsafe_b64encode(f"{stream}/{group}/{life}".encode()).rstrip(b"=").decode("ascii")


@lru_cache(_GROUPS)
def _group_of(beginning: str) -> tuple[str, str, str] | None:
    """Stream, group and life; None where these are none, or are written otherwise."""
    try:
        parts = urlsafe_b64decode(beginning + "=" * (-len(beginning) % 4)).decode().split("/", 2)
    except ValueError:
        return None
    if len(parts) < 3:
        return None
    stream, group, life = parts
    return (stream, group, life) if _beginning(stream, group, life) == beginning else None
