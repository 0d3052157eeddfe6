"""What can happen to a delivery, as exceptions: what a member is told, and what it says itself.

GatewayError
├── LeaseLost          somebody else may have it: what was answered changed nothing
├── AlreadyAnswered    the program answers a second time
└── Unavailable
    └── ConnectionLost
        └── AnswerLost     answered, and whether that was taken nobody knows

``Retry`` and ``GiveUp`` are no errors: a block or a handler raises them to say what is to become of the
message.
"""

from __future__ import annotations

from gateway.client.errors import ConnectionLost
from gateway.errors import GatewayError


class LeaseLost(GatewayError):  # noqa: N818 - named as its siblings are
    """The lease had ended: the message waits, or somebody else has it. What was said changed nothing."""

    code = "conflict"
    http_status = 409


class AlreadyAnswered(GatewayError):  # noqa: N818 - as above
    """The delivery has been answered before; nothing was sent."""

    code = "conflict"
    http_status = 409


class AnswerLost(ConnectionLost):
    """The connection ended between the answer and its reply, and now the lease has ended.

    Either the answer was taken, or the message comes again, to whoever is next.
    """


class Retry(Exception):  # noqa: N818 - no error: it says what is wanted
    """Raised in a block or a handler: the message is to come again, and this counts as an attempt."""

    def __init__(self, after: float | None = None, reason: str = "") -> None:
        """Come again ``after`` seconds; None: after the group's backoff. ``reason`` is for the log."""
        super().__init__(reason or "to be tried again")
        self.after = after


class GiveUp(Exception):  # noqa: N818 - as above
    """Raised in a block or a handler: it is no use to try again, the message is a dead letter now."""

    def __init__(self, reason: str = "") -> None:
        """``reason`` is for the log."""
        super().__init__(reason or "given up")
