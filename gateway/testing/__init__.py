"""The kit for tests of applications that use the gateway: a pytest plugin. See docs/testing.md.

pytest imports this at every start, wherever the package is installed: the kit itself is loaded by the first
test that asks for a fixture of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.testing.clock import MovableClock
    from gateway.testing.in_memory import InMemoryGateway
    from gateway.testing.server import ServerProcess

__all__ = ["InMemoryGateway", "MovableClock", "ServerProcess"]

_PLACES = {
    "InMemoryGateway": "gateway.testing.in_memory",
    "MovableClock": "gateway.testing.clock",
    "ServerProcess": "gateway.testing.server",
}


def __getattr__(name: str) -> object:
    """Load the kit for who annotates his tests with its classes."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    return getattr(import_module(place), name)
