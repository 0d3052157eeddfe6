"""What the protocol classes use of uvicorn's, which are no public API: a contract for its upgrades."""

from __future__ import annotations

import asyncio
import inspect

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway.transports.http.protocol import GatewayHttpProtocol

HTTP_ATTRIBUTES = """
    access_log access_logger app config connections cycle expect_100_continue flow headers limit_concurrency
    logger parser pipeline scope server_state tasks timeout_keep_alive transport ws_protocol_class
"""
HTTP_METHODS = """
    _start_asgi_task connection_lost connection_made data_received handle_websocket_upgrade on_message_begin
    on_response_complete pause_writing resume_writing shutdown
"""
CYCLE_ATTRIBUTES = """
    access_log access_logger body chunked_encoding default_headers disconnected expected_content_length flow
    keep_alive message_event more_body on_response response_complete response_started scope transport
    waiting_for_100_continue
"""


def test_what_is_used_of_uvicorns_classes_is_there() -> None:
    config = uvicorn.Config(lambda scope: None, log_config=None, lifespan="off")
    config.load()
    state = uvicorn.Server(config).server_state

    async def make() -> HttpToolsProtocol:
        return HttpToolsProtocol(config, state, {})

    http = asyncio.run(make())

    assert [name for name in HTTP_ATTRIBUTES.split() if name not in vars(http)] == []
    assert [name for name in HTTP_METHODS.split() if not hasattr(HttpToolsProtocol, name)] == []
    assert isinstance(http.connections, set)
    assert hasattr(WebSocketsSansIOProtocol, "pause_writing")


def test_what_is_used_of_uvicorns_cycle_is_there() -> None:
    arguments = dict.fromkeys(list(inspect.signature(RequestResponseCycle.__init__).parameters)[1:])
    cycle = RequestResponseCycle(**arguments)  # type: ignore[arg-type]

    assert [name for name in CYCLE_ATTRIBUTES.split() if name not in vars(cycle)] == []


def test_uvicorn_takes_the_class() -> None:
    config = uvicorn.Config("x", http=GatewayHttpProtocol)

    assert config.http is GatewayHttpProtocol
