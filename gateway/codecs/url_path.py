"""A path as URLs are written: percent-encoded where it has to be, and nowhere else."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

_UNQUOTED: Final = "/:@!$&'()*+,;="
"""What stands in paths as it is, as browsers write them too."""


def written_path(path: str) -> str:
    """Return the plain ``path`` as a URL has it (RFC 3986, 3.3)."""
    return quote(path, _UNQUOTED)
