"""Why and how a WebSocket connection is closed: codes, reasons and the payload of a close frame.

Spec: RFC 6455, 5.5.1 and 7.4.
"""

from __future__ import annotations

from gateway.core.session.close_codes import CloseCode

# Plain numbers: they are compared with what peers send, and written.
NORMAL = CloseCode.NORMAL.value
GOING_AWAY = CloseCode.GOING_AWAY.value
PROTOCOL_ERROR = CloseCode.PROTOCOL_ERROR.value
NO_STATUS = 1005  # never on the wire: the peer's close frame had no code (RFC 6455, 7.1.5)
ABNORMAL = CloseCode.BROKEN.value
INVALID_DATA = CloseCode.INVALID_TEXT.value
POLICY_VIOLATION = CloseCode.POLICY_VIOLATION.value
MESSAGE_TOO_BIG = CloseCode.TOO_LARGE.value
INTERNAL_ERROR = CloseCode.INTERNAL.value

# RFC 6455, 7.4.1, and what the IANA registry has added; 3000 to 4999 are for libraries and applications.
_CLOSE_CODES = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))


class FrameFailure(Exception):  # noqa: N818 - a verdict on the peer's bytes, kept as a value too
    """The connection must be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


def check_text(payload: bytes) -> None:
    """Refuse what is not UTF-8 (RFC 6455, 8.1).

    Raises:
        FrameFailure: with code 1007.
    """
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise FrameFailure(INVALID_DATA, "text must be UTF-8") from None


def close_code_and_reason(payload: bytes) -> tuple[int, str]:
    """Read a close frame's payload; ``NO_STATUS`` if it is empty (RFC 6455, 5.5.1 and 7.4).

    Raises:
        FrameFailure: one byte, a code that must not be sent, or a reason that is not UTF-8.
    """
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise FrameFailure(PROTOCOL_ERROR, "a close frame must not hold half a code")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES and not 3000 <= code < 5000:
        raise FrameFailure(PROTOCOL_ERROR, f"close code {code} must not be sent")
    check_text(payload[2:])
    return code, payload[2:].decode()


def close_payload(code: int, reason: str) -> bytes:
    """Return a close frame's payload; empty for ``NO_STATUS``, the reason cut to what fits."""
    if code == NO_STATUS:
        return b""
    # Cut between characters: 123 bytes at most, and UTF-8.
    return code.to_bytes(2, "big") + reason.encode()[:123].decode(errors="ignore").encode()
