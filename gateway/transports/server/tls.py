"""TLS: the certificate from files, and from new files without a restart.

Renewed certificates are noticed by their files' times. Both files are read once, and the pair is tried in a
context of its own first: a certificate whose key doesn't fit would leave the live context with half a pair.
The live context is also what a forked process begins with, so a worker that is started again while the files
are being replaced has the last good pair.
"""

from __future__ import annotations

import logging
import math
import os
import ssl
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
from anyio import to_thread

from gateway.transports.server.tls_pair import Validity, what_is_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 10.0
"""How often the files are looked at."""

_REMIND_SECONDS: Final = 86_400.0

Stamp: TypeAlias = "tuple[tuple[int, int, int], ...]"


class UnusableCertificate(ValueError):  # noqa: N818 - says what is wrong
    """The files can't be read, are no PEM, or don't belong together; the text names them."""


@dataclass(frozen=True, slots=True)
class CertificateStatistics:
    """How it stands with the certificate.

    Attributes:
        not_after: when it ends, in seconds since 1970.
        failures: how often changed files could not be taken up.
    """

    not_after: float
    failures: int


@dataclass(frozen=True, slots=True)
class _Pair:
    """What the files held at one time."""

    chain: bytes
    key: bytes = field(repr=False)
    stamp: Stamp


class Certificate:
    """A certificate chain and its key, loaded into one live context.

    Attributes:
        context: for the server; handshakes that begin after a reload get the new certificate.
        validity: of the certificate in use; None where it can't be read.
    """

    def __init__(self, certificate: str, key: str, *, wall_clock: Callable[[], float] = time.time) -> None:
        """Load the files.

        Raises:
            UnusableCertificate: they can't be read, are no PEM, or don't belong together.
        """
        self._files = Path(certificate), Path(key)
        self._wall_clock = wall_clock
        self._failures = 0
        self._asked = anyio.Event()
        self._reminded: tuple[Validity | None, float] = None, 0.0
        pair = self._read(self._read_stamp())
        self.context = _context()
        self._adopt(pair)

    def statistics(self) -> CertificateStatistics:
        """Return the figures of now."""
        return CertificateStatistics(
            not_after=math.nan if self.validity is None else self.validity.not_after,
            failures=self._failures,
        )

    def reload(self) -> bool:
        """Load the files again if they have changed.

        Returns:
            Whether a new pair is in use.

        Raises:
            UnusableCertificate: the new files are wrong; the old pair stays in use.
        """
        pair = self._renewed()
        if pair is not None:
            self._adopt(pair)
        return pair is not None

    def look_now(self) -> None:
        """Have ``watch`` look at the files now."""
        self._asked.set()

    def catch_up(self, wait: Callable[[], None]) -> None:
        """In a process forked long after the files were read: take up what they hold now.

        Where that is wrong, what was read before serves, as long as it is valid. Once it isn't, call ``wait``
        until the files are right.
        """
        told = ""
        while True:
            try:
                self.reload()
            except UnusableCertificate as error:
                if self.validity is None or self._wall_clock() < self.validity.not_after:
                    return  # `watch` tells
                if str(error) != told:
                    _logger.warning("TLS certificate has expired, and a new one can't be had: %s", error)
                told = str(error)
                wait()
            else:
                return

    async def watch(self, every: float = LOOK_SECONDS) -> None:
        """Reload for ever; a pair that is wrong is told once and tried again, one that has run out daily."""
        told = ""
        asked = False
        while True:
            try:
                # In a thread: the files may be on a network file system.
                pair = await to_thread.run_sync(self._renewed)
                if pair is not None:
                    self._adopt(pair)
                    _logger.info("TLS certificate reloaded")
                elif asked:
                    _logger.info("TLS certificate is the same as before")
                told = ""
            except UnusableCertificate as error:
                if str(error) != told:
                    _logger.warning("TLS certificate not reloaded, the old one stays: %s", error)
                told = str(error)
            self._remind()
            with anyio.move_on_after(every):
                await self._asked.wait()
            asked, self._asked = self._asked.is_set(), anyio.Event()
            told = "" if asked else told

    def _renewed(self) -> _Pair | None:
        """Return what the files hold if they have changed and can be used."""
        try:
            stamp = self._read_stamp()
            if stamp == self._stamp:
                return None
            pair = self._read(stamp)
            self._load(_context(), pair)
        except UnusableCertificate:
            self._failures += 1
            raise
        return pair

    def _adopt(self, pair: _Pair) -> None:
        self._load(self.context, pair)
        self._stamp = pair.stamp
        self.validity = Validity.of(pair.chain)

    def problem(self) -> str | None:
        """Say what is wrong now with the dates of the certificate in use; None if all is well."""
        problem = None if self.validity is None else self.validity.problem(self._wall_clock())
        return None if problem is None else f"TLS certificate {str(self._files[0])!r} {problem}"

    def _remind(self) -> None:
        now = self._wall_clock()
        problem = self.problem()
        known, told_at = self._reminded
        if problem is None or (known == self.validity and now - told_at < _REMIND_SECONDS):
            return
        self._reminded = self.validity, now
        _logger.warning("%s", problem)

    def _read_stamp(self) -> Stamp:
        try:
            states = [path.stat() for path in self._files]
        except OSError as exc:
            raise _unreadable(exc) from exc
        return tuple((state.st_mtime_ns, state.st_size, state.st_ino) for state in states)

    def _read(self, stamp: Stamp) -> _Pair:
        try:
            chain, key = (path.read_bytes() for path in self._files)
        except OSError as exc:
            raise _unreadable(exc) from exc
        return _Pair(chain, key, stamp)

    def _load(self, context: ssl.SSLContext, pair: _Pair) -> None:
        try:
            with _as_file(pair.chain) as chain, _as_file(pair.key) as key:
                # An encrypted key must not have the server wait for a passphrase on the terminal.
                context.load_cert_chain(chain, key, password="")
        except (OSError, ValueError) as exc:
            names = [str(path) for path in self._files]
            wrong = what_is_wrong(pair.chain, pair.key) or getattr(exc, "reason", None) or exc
            raise UnusableCertificate(
                f"server.tls_certificate {names[0]!r} and server.tls_key {names[1]!r}: {wrong}"
            ) from exc


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _unreadable(error: OSError) -> UnusableCertificate:
    return UnusableCertificate(f"server.tls_certificate, server.tls_key: {error.strerror}: {error.filename}")


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give ``content`` a path, since OpenSSL's contexts read nothing else; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("pem")
        with open(memory, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{memory}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
