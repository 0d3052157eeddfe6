"""An issuer's published keys (a JWKS, RFC 7517, 5), kept at hand.

One task fetches: at start, every few minutes, and when a token names a key that isn't known. Fetches of the
last kind have a rate, so that made-up names can't turn this node against the issuer, and a reserve, so that
one made-up name doesn't keep the next token waiting. Those who need a new key wait for it a few seconds.

A key is unknown to the issuer only if a fetch that began after the token came didn't bring it. Where none
could be made, nothing is known of the token, and it isn't refused: keys that turn must cost no client its
connection, whatever others have just asked for. While the URL fails the keys that are there go on to be used:
an issuer's outage is not ours.
"""

from __future__ import annotations

import json
import logging
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
import httpx2

from gateway.auth.jwt import matching
from gateway.auth.jwt_keys import LONGEST_KID, JwtKey, jwk_key
from gateway.core.session.rate import RateLimit
from gateway.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.auth.claims import Expected

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 30.0
"""The time from a fetch that failed to the next."""
ASKED_SECONDS: Final = 10.0
"""How often, on average, an unknown key may have the keys fetched."""
ASKED_AT_ONCE: Final = 4
"""How many such fetches may follow each other at once."""

_FETCH_SECONDS: Final = 5.0
_MOST_BYTES: Final = 1024 * 1024
_MOST_KEYS: Final = 32
_JITTER: Final = 0.1

_log = logging.getLogger("gateway.auth")


class JwksUnavailable(Exception):  # noqa: N818 - says what happened; it never leaves this module
    """The document can't be had, or is not a JWKS."""


@dataclass(frozen=True, slots=True)
class JwksStatistics:
    """How it stands with an issuer's keys.

    Attributes:
        keys: how many are known and usable.
        fetches: how often they were fetched.
        failures: how many of those failed.
        age: seconds since the last success; infinite before the first.
    """

    keys: int
    fetches: int
    failures: int
    age: float


class Jwks:
    """The keys behind one URL; `run` must be running for them to come.

    Attributes:
        expected: what tokens verified with them must say of themselves.
        revision: counts how often the keys have changed.
    """

    def __init__(self, url: str, expected: Expected, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.expected = expected
        self.revision = 0
        self._url = url
        self._host = urlsplit(url).hostname
        self._clock = clock
        self._keys: tuple[JwtKey, ...] = ()
        self._document: bytes | None = None
        self._fetches = self._failures = 0
        self._confirmed = 0
        self._succeeded = -math.inf
        # The first fetch needs nobody who asks: it is what `run` begins with.
        self._fetching, self._failing = True, False
        self._asking = RateLimit(1 / ASKED_SECONDS, ASKED_AT_ONCE, now=clock())
        self._wanted = anyio.Event()
        self._answered = anyio.Event()

    def statistics(self) -> JwksStatistics:
        """Return the figures of now."""
        age = self._clock() - self._succeeded
        return JwksStatistics(len(self._keys), self._fetches, self._failures, age)

    def known(self, kid: str | None, algorithm: str) -> Sequence[JwtKey] | None:
        """Return the keys in question; None where the issuer may have new ones."""
        if algorithm == "HS256" or (kid is not None and len(kid) > LONGEST_KID):
            return ()
        return matching(self._keys, kid, algorithm) or None

    async def find(self, kid: str | None, algorithm: str) -> Sequence[JwtKey]:
        """Return the keys in question; where there are none, see first whether the issuer has new ones.

        Raises:
            Unavailable: it can't be known now whether the issuer has such a key.
        """
        known = self.known(kid, algorithm)
        if known is not None:
            return known
        came_after = self._fetches
        deadline = anyio.current_time() + _FETCH_SECONDS + 1
        while not (found := matching(self._keys, kid, algorithm)) and self._confirmed <= came_after:
            if not (self._fetching or self._wanted.is_set()):
                self._want()
            failures = self._failures
            with anyio.CancelScope(deadline=deadline) as waiting:
                await self._answered.wait()
            if waiting.cancelled_caught or self._failures != failures:
                raise _unknown(self._asking.wait(self._clock()))
        return found

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        async with httpx2.AsyncClient(timeout=_FETCH_SECONDS) as client:
            while True:
                self._wanted = anyio.Event()
                self._fetching = True
                try:
                    await self._fetch(client)
                finally:
                    self._fetching = False
                self._answered.set()
                self._answered = anyio.Event()
                pause = RETRY_SECONDS if self._failing else REFRESH_SECONDS
                with anyio.move_on_after(pause * random.uniform(1, 1 + _JITTER)):  # noqa: S311 - no secret
                    await self._wanted.wait()

    def _want(self) -> None:
        """Have the keys fetched, once for all who want that now.

        Raises:
            Unavailable: they were fetched too often for keys that nobody has.
        """
        now = self._clock()
        if not self._asking.allow(now):
            raise _unknown(self._asking.wait(now))
        self._wanted.set()

    async def _fetch(self, client: httpx2.AsyncClient) -> None:
        self._fetches += 1
        number = self._fetches
        try:
            document = await _fetched(client, self._url)
            keys = self._keys if document == self._document else _keys_of(document)
        except JwksUnavailable as exc:
            self._failures += 1
            if not self._failing:
                _log.warning("JWKS of %s: %s; %d keys stay in use", self._host, exc, len(self._keys))
            self._failing = True
            return
        if self._failing or document != self._document:
            _log.info("JWKS of %s: %d keys", self._host, len(keys))
        if keys != self._keys:
            self.revision += 1
        self._document, self._keys, self._failing = document, keys, False
        self._succeeded, self._confirmed = self._clock(), number


def _unknown(retry_after_seconds: float) -> Unavailable:
    error = Unavailable("whether the issuer has the token's key can't be known now")
    error.retry_after_seconds = retry_after_seconds
    return error


async def _fetched(client: httpx2.AsyncClient, url: str) -> bytes:
    # Uncompressed, and read as it comes: a small answer must not unpack into a large one.
    headers = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}
    document = bytearray()
    try:
        with anyio.fail_after(_FETCH_SECONDS):
            async with client.stream("GET", url, headers=headers, follow_redirects=False) as response:
                if response.status_code != httpx2.codes.OK:
                    raise JwksUnavailable(f"HTTP status {response.status_code}")
                async for chunk in response.aiter_raw():
                    document += chunk
                    if len(document) > _MOST_BYTES:
                        raise JwksUnavailable(f"over {_MOST_BYTES} bytes")
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as exc:
        raise JwksUnavailable(f"can't be fetched ({type(exc).__name__})") from None
    return bytes(document)


def _keys_of(document: bytes) -> tuple[JwtKey, ...]:
    try:
        entries = json.loads(document)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        entries = None
    if not isinstance(entries, list):
        raise JwksUnavailable("not a JWKS")
    keys = (jwk_key(entry) for entry in entries[: 4 * _MOST_KEYS] if isinstance(entry, dict))
    # Without a kid every key is tried, so their number is what a forged token may cost.
    return tuple(key for key in keys if key is not None)[:_MOST_KEYS]
