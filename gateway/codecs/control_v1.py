"""Control messages between nodes as bytes: JSON, bounded in size and read strictly.

    {"v": 1, "node": …, "id": …, "kind": …, "body": {…}}

Nodes of two versions share a Redis while a new one is rolled out: a message of another version, or of a kind
that this one doesn't know, is refused as a whole rather than half understood. A body may gain fields with
defaults: those that a node doesn't know it passes over.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.core.cluster.control import (
    AskAudit,
    AskDeliveries,
    AskStatistics,
    AuditPage,
    BadControl,
    Beat,
    Blocks,
    Body,
    Changed,
    ChangeSubject,
    Connections,
    Control,
    DeliveriesPage,
    Described,
    DescribeSession,
    DrainNode,
    Ended,
    EndSession,
    EndSubject,
    Farewell,
    ForgetStream,
    Forgotten,
    ListBlocks,
    ListConnections,
    Refused,
    SearchConnections,
    SlowConnections,
    StatisticsPage,
)

VERSION: Final = 1
MOST_BYTES: Final = 256 * 1024

_KINDS: Final[dict[str, type[Body]]] = {
    "beat": Beat,
    "farewell": Farewell,
    "list_connections": ListConnections,
    "connections": Connections,
    "end_session": EndSession,
    "end_subject": EndSubject,
    "ended": Ended,
    "list_blocks": ListBlocks,
    "blocks": Blocks,
    "forget_stream": ForgetStream,
    "forgotten": Forgotten,
    "search_connections": SearchConnections,
    "slow_connections": SlowConnections,
    "describe_session": DescribeSession,
    "described": Described,
    "ask_audit": AskAudit,
    "audit": AuditPage,
    "ask_deliveries": AskDeliveries,
    "deliveries": DeliveriesPage,
    "drain_node": DrainNode,
    "ask_statistics": AskStatistics,
    "statistics": StatisticsPage,
    "change_subject": ChangeSubject,
    "changed": Changed,
    "refused": Refused,
}
_NAMES: Final = {body: kind for kind, body in _KINDS.items()}
_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(body) for kind, body in _KINDS.items()
}


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    node: str
    id: str
    kind: str
    body: msgspec.Raw


_envelopes: Final = msgspec.json.Decoder(_Envelope)


class ControlV1:
    """The one format of control messages."""

    def encode(self, message: Control) -> bytes:
        """Return ``message`` as JSON.

        Raises:
            BadControl: it is larger than ``MOST_BYTES``, or holds what is no text.
        """
        try:
            body = msgspec.Raw(msgspec.json.encode(message.body))
            encoded = msgspec.json.encode(
                _Envelope(VERSION, message.node, message.id, _NAMES[type(message.body)], body)
            )
        except UnicodeEncodeError as exc:
            raise BadControl("a text holds a lone surrogate") from exc
        if len(encoded) > MOST_BYTES:
            raise BadControl(f"a control message may have {MOST_BYTES} bytes, this one has {len(encoded)}")
        return encoded

    def decode(self, encoded: bytes) -> Control:
        """Return what another node has sent.

        Raises:
            BadControl: it is too large, broken, of another version, or says what no node says.
        """
        if len(encoded) > MOST_BYTES:
            raise BadControl(f"a control message may have {MOST_BYTES} bytes, this one has {len(encoded)}")
        try:
            envelope = _envelopes.decode(encoded)
            if envelope.v != VERSION:
                raise BadControl(f"control messages of version {envelope.v}, this node reads {VERSION}")
            decoder = _DECODERS.get(envelope.kind)
            if decoder is None:
                raise BadControl(f"a control message of the kind {envelope.kind[:32]!r}")
            return Control(envelope.node, envelope.id, decoder.decode(envelope.body))
        except (ValueError, RecursionError) as exc:
            # What msgspec raises is a ValueError, as is what the messages themselves refuse.
            raise BadControl(f"not a control message: {exc}") from exc
