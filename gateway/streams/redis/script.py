"""One script that Redis runs."""

from __future__ import annotations

from typing import NamedTuple


class Script(NamedTuple):
    """A script's text, and the digest by which a server that has seen it knows it."""

    text: str
    digest: str
