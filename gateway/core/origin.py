"""Web origins and the authorities in ``Host``, written in one way, so that equal ones compare as equal.

Spec: RFC 6454, 4 and 6.2; RFC 9110, 4.2.3: the scheme's default port and no port at all are the same.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65535
_LONGEST: Final = 300
"""Longer than any: a host's name has at most 253 characters."""

_AUTHORITY: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{0,5}))?")


def canonical_origin(text: str) -> str | None:
    """Return an origin as browsers write it: in lower case, without a default port; None if it is none.

    ``HTTPS://App.example:443`` is ``https://app.example``.
    """
    return _canonical_origin(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=256)
def _canonical_origin(text: str) -> str | None:
    scheme, separator, authority = text.lower().partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        return None
    parts = split_authority(authority)
    if parts is None:
        return None
    host, port = parts
    return f"{scheme}://{host}" if port in {None, _DEFAULT_PORTS[scheme]} else f"{scheme}://{host}:{port}"


def canonical_host(name: str) -> str:
    """Return a host's name or address as ``split_authority`` does; IPv6 may come with brackets or without."""
    if not is_address(name):
        return name.lower()
    address = ipaddress.ip_address(name.strip("[]"))
    return f"[{address}]" if address.version == 6 else str(address)


@lru_cache(maxsize=256)
def split_authority(text: str) -> tuple[str, int | None] | None:
    """Return host, in lower case, and port of an authority such as ``Host`` carries; None if it is none."""
    match = _AUTHORITY.fullmatch(text.lower()) if len(text) <= _LONGEST else None
    if match is None:
        return None
    host, digits = match.groups()
    if host.startswith("["):
        if not is_address(host):
            return None
        host = canonical_host(host)
    if not digits:  # RFC 3986, 3.2.3: "URI producers … should omit the port component and its ':' …"
        return host, None
    return (host, int(digits)) if int(digits) <= _MOST_PORT else None


@lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address, IPv6 with or without brackets, and not a name."""
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
    except ValueError:
        return False
    return True
