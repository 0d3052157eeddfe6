"""What the kit does to the ``Gateway`` under test, be it the application's own."""
# ruff: noqa: SLF001 - nobody else needs to

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.embed.declaration import alone
from gateway.embed.discovery import mounts
from gateway.embed.gateway import Gateway
from gateway.embed.identity import principal_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.app.surroundings import Surroundings
    from gateway.client import Client
    from gateway.embed.identity import Identity


def gateway_of(application: object, settings: dict[str, Any]) -> Gateway:
    """The gateway of an application, or one of ``settings`` where that is None.

    Raises:
        ValueError: there is none in it, or there are settings besides it.
        InvalidSettings: a setting breaks a rule.
    """
    if application is None:
        return Gateway(**settings)
    if settings:
        raise ValueError(
            f"the application brings its own settings; the marker's ({', '.join(settings)}) would not count"
        )
    found = next((gateway for _, gateway in mounts(application)), None)
    if found is None:
        raise ValueError(f"there is no gateway in {application!r}: mount one, or give the Gateway itself")
    return found


@contextmanager
def alone_within(gateway: Gateway, surroundings: Surroundings) -> Iterator[None]:
    """Have what starts meanwhile live in memory, with no other process, and within ``surroundings``."""
    settings, permissions = gateway._settings, gateway._permissions
    gateway._settings, gateway._surroundings = alone(settings), surroundings
    if permissions is not None:
        permissions.clock = surroundings.clock.monotonic
    try:
        yield
    finally:
        gateway._settings, gateway._surroundings = settings, None
        if permissions is not None:
            permissions.clock = time.monotonic


def client_of(gateway: Gateway, identity: Identity | str | None) -> Client:
    """A client in process that speaks for ``identity``, as ``authenticate`` gives it; None: the application.

    Raises:
        NotRunning: the gateway isn't running.
    """
    if identity is None:
        return gateway.client()
    extend = None if gateway._permissions is None else gateway._permissions.beside
    return gateway._run().client(principal_of(identity, extend))


def is_asking(gateway: Gateway) -> bool:
    """Whether an answer of the application's ``authorize`` is awaited."""
    return gateway._permissions is not None and gateway._permissions.asking
