"""What only an application that embeds the gateway can get wrong; nothing of it is ever on the wire.

EmbeddingError
├── NotRunning         used before the application's start, or after its end
└── SomeNotPublished   of many publications some were refused; has the result of each
WrongEventLoop         used from another event loop or thread than it runs in
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.messages.events import Published


class EmbeddingError(GatewayError):
    """The application uses its gateway in a way that can't work."""


class NotRunning(EmbeddingError):  # noqa: N818 - says what is the matter
    """The gateway runs from the application's start to its end, and this was before or after."""

    code = "unavailable"
    http_status = 503


class SomeNotPublished(EmbeddingError):  # noqa: N818 - as above
    """Of many publications some were refused, and the others are published.

    Attributes:
        results: one for each, in order: what became of it, or the error.
    """

    def __init__(self, results: Sequence[Published | GatewayError]) -> None:
        failed = [(at, each) for at, each in enumerate(results) if isinstance(each, GatewayError)]
        at, first = failed[0]
        super().__init__(
            f"{len(failed)} of {len(results)} were not published; the first of them, number {at}: {first}"
        )
        self.results = tuple(results)
