"""What only an application that embeds the gateway can get wrong; nothing of it is ever on the wire.

EmbeddingError
├── NotRunning         used before the application's start, or after its end
└── SomeNotPublished   of many publications some were refused; has the result of each
WrongEventLoop         used from another event loop or thread than it runs in
"""

from __future__ import annotations

from gateway.client.errors import PartlyPublished
from gateway.errors import GatewayError


class EmbeddingError(GatewayError):
    """The application uses its gateway in a way that can't work."""


class NotRunning(EmbeddingError):  # noqa: N818 - says what is the matter
    """The gateway runs from the application's start to its end, and this was before or after."""

    code = "unavailable"
    http_status = 503


class SomeNotPublished(PartlyPublished, EmbeddingError):  # noqa: N818 - as above
    """Of many publications some were refused, and the others are published: as with the client library."""
