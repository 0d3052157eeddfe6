"""What administrators see of somebody's rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

if TYPE_CHECKING:
    from gateway.auth.principal import Principal

_MOST: Final = 100
"""Grants of each kind."""


class ShownRights(TypedDict):
    """Fields of ``ConnectionDetails``."""

    grants: dict[str, tuple[str, ...]]
    admin: bool
    expires: int | None


def shown_rights(principal: Principal) -> ShownRights:
    """What there is to tell of ``principal``'s rights."""
    grants = principal.grants
    return {
        "grants": {
            "subscribe": grants.subscribe[:_MOST],
            "publish": grants.publish[:_MOST],
            "consume": grants.consume[:_MOST],
        },
        "admin": grants.admin,
        "expires": principal.expires,
    }
