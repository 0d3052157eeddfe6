"""What request headers say about a message: its key, its delay, its idempotency key, its own headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gateway.codecs.gateway_v1_shapes import LABEL_CHARACTERS, LONGEST_DELAY
from gateway.errors import BadCommand
from gateway.http_api.raw_headers import all_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from gateway.codecs.body import MessageLimits

MESSAGE_HEADER_PREFIX: Final = "gateway-header-"
_DIGITS: Final = 16

# W3C Trace Context, 3.2.2: version, trace, parent and flags; ff is no version, a later one than 00 may go on.
_TRACE: Final = r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACE_PARENT: Final = re.compile(f"00{_TRACE}|(?!00|ff)[0-9a-f]{{2}}{_TRACE}(?:-[!-~]{{0,64}})?")
_TRACE_STATE_CHARACTERS: Final = 512
_RAW_PREFIX: Final = MESSAGE_HEADER_PREFIX.encode()


def label(request: Request, name: str) -> str | None:
    """Return the header ``name``, None if absent; raises ``BadCommand`` unless it is one short text."""
    values = _values(request, name)
    if not values:
        return None
    value = values[0]
    if len(values) > 1 or not value or len(value) > LABEL_CHARACTERS:
        raise BadCommand(f"{name}: one value of 1 to {LABEL_CHARACTERS} characters is allowed")
    return value


def delay(request: Request) -> int | None:
    """Return ``Gateway-Delay`` in milliseconds, None if absent; raises ``BadCommand`` for anything else."""
    text = label(request, "gateway-delay")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= LONGEST_DELAY):
        raise BadCommand(f"gateway-delay: a number of milliseconds from 0 to {LONGEST_DELAY} is allowed")
    return int(text)


def trace_headers(request: Request) -> dict[str, str]:
    """Return the trace that a request is part of, as a message's headers; nothing where it names none.

    One that is not as the W3C's recommendation has it is passed over, as that demands.
    """
    given = all_values(request, b"traceparent")
    if len(given) != 1:
        return {}
    parent = given[0].decode("latin-1").strip(" \t")
    if not _TRACE_PARENT.fullmatch(parent):
        return {}
    state = b",".join(all_values(request, b"tracestate")).decode("latin-1").strip(" \t")
    if state and len(state) <= _TRACE_STATE_CHARACTERS and state.isascii() and state.isprintable():
        return {"traceparent": parent, "tracestate": state}
    return {"traceparent": parent}


def message_headers(request: Request, limits: MessageLimits) -> Mapping[str, str] | None:
    """Return the ``Gateway-Header-*`` headers without their prefix, in lower case; None if there are none.

    A repeated header is one value, joined with a comma (RFC 9110, 5.3). The trace that the request is part of
    is among them, unless they name one themselves.

    Raises:
        BadCommand: more of them, or more bytes, than ``limits`` allows; a header without a name.
    """
    names = {name.decode("latin-1") for name, _ in request.scope["headers"] if name.startswith(_RAW_PREFIX)}
    trace = trace_headers(request)
    if not names:
        return trace or None
    if len(names) > limits.header_entries:
        raise BadCommand(f"{limits.header_entries} Gateway-Header-* headers are the most")
    found = {}
    for name in sorted(names):
        short = name.removeprefix(MESSAGE_HEADER_PREFIX)
        if not short:
            raise BadCommand("Gateway-Header-: the header has no name")
        found[short] = ", ".join(_values(request, name))
    if sum(len(name) + len(value.encode()) for name, value in found.items()) > limits.header_bytes:
        raise BadCommand(f"Gateway-Header-* headers: {limits.header_bytes} bytes are the most together")
    return found if "traceparent" in found else {**trace, **found}


def _values(request: Request, name: str) -> list[str]:
    """All values of one header as text; HTTP gives bytes, and UTF-8 is what senders mean by them."""
    try:
        values = [value.decode() for value in all_values(request, name.encode("latin-1"))]
    except UnicodeDecodeError:
        raise BadCommand(f"{name}: the value is not UTF-8") from None
    for value in values:
        if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
            raise BadCommand(f"{name}: control characters are not allowed")
    return values
