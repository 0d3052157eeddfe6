"""Which parameters a query may have: one that is misspelt would otherwise be passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.errors import BadCommand

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_CREDENTIAL: Final = "access_token"
"""May be in any URL, as far as `auth.credentials` lets it."""


def check_names(given: Iterable[str], known: Collection[str] = (), *, repeated: Collection[str] = ()) -> None:
    """See that the names ``given`` in a query are known, and that only those ``repeated`` come again.

    Raises:
        BadCommand: one is not; it is named.
    """
    seen: set[str] = set()
    for name in given:
        if name not in known and name != _CREDENTIAL:
            there_are = f"there are {', '.join(known)}" if known else "there are none here"
            raise BadCommand(f"no query parameter is named {name[:32]!r}: {there_are}")
        if name in seen and name not in repeated:
            raise BadCommand(f"the query parameter {name!r} must come once")
        seen.add(name)
