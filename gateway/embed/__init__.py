"""The gateway as a part of somebody's own application. See docs/embedding.md."""

from starlette.requests import HTTPConnection

from gateway.auth.principal import Principal
from gateway.core.messages.events import Published
from gateway.embed.declaration import GroupTable as Group
from gateway.embed.declaration import StreamTable as Stream
from gateway.embed.errors import EmbeddingError, NotRunning, SomeNotPublished
from gateway.embed.gateway import Gateway
from gateway.embed.identity import Identity
from gateway.embed.outgoing import Outgoing
from gateway.embed.outgoing import PublishFunction as Publish
from gateway.errors import GatewayError, WrongEventLoop
from gateway.settings import InvalidSettings

__all__ = [
    "EmbeddingError",
    "Gateway",
    "GatewayError",
    "Group",
    "HTTPConnection",
    "Identity",
    "InvalidSettings",
    "NotRunning",
    "Outgoing",
    "Principal",
    "Publish",
    "Published",
    "SomeNotPublished",
    "Stream",
    "WrongEventLoop",
]
