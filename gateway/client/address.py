"""From what a user writes as the gateway's address to the addresses that are used."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
PATH = "/v1/ws"


def websocket_address(url: str) -> str:
    """Return the WebSocket URL for ``url``, which may be an ``http``, ``https``, ``ws`` or ``wss`` one.

    An HTTP URL is the gateway's base, below which ``/v1/ws`` is added; a WebSocket URL with a path is taken
    as it is, since a proxy may serve the gateway under another one.

    Raises:
        ValueError: another scheme, no host, a fragment, or credentials in the URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"gateway URL {url!r}: the scheme must be http, https, ws or wss")
    if parts.username is not None or parts.password is not None:
        # Not repeated in the message: it would put the secret into logs.
        raise ValueError("gateway URL: credentials do not belong into it, give them as token=")
    if not parts.hostname or parts.fragment:
        raise ValueError(f"gateway URL {url!r}: it needs a host and takes no fragment")
    return urlunsplit((SCHEMES[parts.scheme], parts.netloc, _path(parts.scheme, parts.path), parts.query, ""))


def publish_address(url: str) -> str:
    """Return the address of ``POST /v1/publish`` for ``url``, which may be what ``websocket_address`` takes.

    Raises:
        ValueError: as there.
    """
    parts = urlsplit(websocket_address(url))
    scheme = "https" if parts.scheme == "wss" else "http"
    path = parts.path.rstrip("/").removesuffix(PATH) + "/v1/publish"
    return urlunsplit((scheme, parts.netloc, path, "", ""))


def _path(scheme: str, path: str) -> str:
    base = path.rstrip("/")
    if base.endswith(PATH) or (scheme in ("ws", "wss") and base):
        return path
    return base + PATH
