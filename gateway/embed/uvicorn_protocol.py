"""The direct way under ``uvicorn``: ``uvicorn --http gateway.embed.uvicorn_protocol:DirectHttpProtocol …``.

Connections to the gateway are taken over as by its own server; WebSockets of the application itself get
uvicorn's class, whatever ``--ws`` says that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from gateway.embed.discovery import websocket_paths
from gateway.transports.http.protocol import GatewayHttpProtocol
from gateway.transports.websocket.takeover_offer import TakeoverOffer

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config
    from uvicorn.server import ServerState

_offers: Final[WeakKeyDictionary[Config, TakeoverOffer]] = WeakKeyDictionary()


class DirectHttpProtocol(GatewayHttpProtocol):
    """One connection of an application that embeds gateways, with the bounds of a gateway's own server."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        offer = _offers.get(config)
        if offer is None:
            offer = _offers[config] = TakeoverOffer(paths=websocket_paths(config.loaded_app))
        self.offer = offer  # type: ignore[misc]  # of a server, and this class is every server's
        super().__init__(config, server_state, app_state, _loop)
