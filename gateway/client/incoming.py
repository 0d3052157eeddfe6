"""One frame of the gateway's, as the client works with it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.client.message import message_of
from gateway.codecs.gateway_v1_client import Received, decode_event
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.client.message import Message
    from gateway.core.messages.events import Event

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message, and the one filter it is meant for (None: every one that matches)."""

    message: Message
    filter: str | None


def decode_frame(frame: bytes) -> Incoming | Event | None:
    """Read one frame; None for what this version does not know or cannot read, which is logged."""
    try:
        event = decode_event(frame)
        if not isinstance(event, Received):
            return event
        return Incoming(message_of(event.publication, snapshot=event.snapshot), event.filter)
    except (GatewayError, ValueError) as error:
        log.warning("ignored a frame that this client cannot read: %s", error)
        return None
