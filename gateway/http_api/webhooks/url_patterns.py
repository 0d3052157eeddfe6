"""URLs that may be fetched: ``https://sns.*.amazonaws.com/SimpleNotificationService-*.pem``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_URL: Final = 2048

_PATTERN: Final = re.compile(r"https://([a-z0-9*-]+(?:\.[a-z0-9*-]+)+)(/[!-~]*)")
_URL: Final = re.compile(r"https://([a-z0-9-]+(?:\.[a-z0-9-]+)+)(/[!-~]*)")
_FULLEST_HOST: Final = 2
"""So many labels at a host's end must be written out: a pattern is of somebody's hosts."""


@dataclass(frozen=True, slots=True)
class UrlPatterns:
    """Which URLs are allowed; make one with ``parse``."""

    patterns: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> UrlPatterns:
        """Read patterns: HTTPS, a host, a path; ``*`` is a part of one label, or of the path.

        Raises:
            ValueError: one is no such URL, or its host's last two labels are not written out.
        """
        return cls(tuple(_pattern(text) for text in texts))

    def allow(self, url: str) -> bool:
        """Whether ``url`` is allowed: HTTPS at its usual port, without a user, in plain characters."""
        match = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
        if match is None or urlsplit(url).hostname != match[1]:
            return False
        return any(host.fullmatch(match[1]) and path.fullmatch(match[2]) for host, path in self.patterns)


def _pattern(text: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    match = _PATTERN.fullmatch(text)
    if match is None or any("*" in label for label in match[1].split(".")[-_FULLEST_HOST:]):
        raise ValueError(
            f"{text!r}: a URL that may be fetched is 'https://', a host whose last two labels hold no '*',"
            " and a path"
        )
    host = re.escape(match[1]).replace(r"\*", "[a-z0-9-]+")
    path = re.escape(match[2]).replace(r"\*", "[!-~]*")
    return re.compile(host), re.compile(path)
