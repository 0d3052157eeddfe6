"""How long a command may take."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from gateway.client.errors import CommandTimeout, NotSent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.errors import GatewayError


class TimeLimit:
    """A limit that runs.

    Attributes:
        sent: whether the command may have reached the gateway.
        lost: whether an earlier attempt was sent and never answered.
        refused: why it was refused for now, where it was and is to be sent again.
    """

    __slots__ = ("lost", "refused", "sent")

    def __init__(self, *, sent: bool) -> None:
        self.sent = sent
        self.lost = False
        self.refused: GatewayError | None = None


@contextmanager
def time_limit(seconds: float, what: str, *, sent: bool = True) -> Iterator[TimeLimit]:
    """Raise for ``what`` when the block takes longer than ``seconds``.

    Raises:
        CommandTimeout: it was sent, and no reply came.
        NotSent: it was not: begun with ``sent`` False, and the block has not set it since.
        GatewayError: the block has said that it was refused, and it was not sent since.
    """
    limit = TimeLimit(sent=sent)
    try:
        with anyio.fail_after(seconds):
            yield limit
    except TimeoutError as error:
        if limit.sent:
            raise CommandTimeout(f"{what}: no reply within {seconds:g} s") from error
        if limit.refused is not None:
            raise limit.refused from error
        raise NotSent(f"{what}: no connection within {seconds:g} s, so it was not sent") from error
