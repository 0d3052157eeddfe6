"""Looking at a request's headers as the server handed them over: names in lower case, values as bytes.

Starlette's ``Headers`` encodes the name and decodes the value for each question, and answers that a header
is absent by raising: most questions that a publish asks are about headers that are absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request


def header(request: Request, name: bytes) -> str | None:
    """Return the first value of ``name`` (lower case), None if it is absent."""
    raw: Iterable[tuple[bytes, bytes]] = request.scope["headers"]
    for each, value in raw:
        if each == name:
            return value.decode("latin-1")
    return None


def all_values(request: Request, name: bytes) -> list[bytes]:
    """Return every value of ``name`` (lower case), in the order of the request."""
    return [value for each, value in request.scope["headers"] if each == name]
