"""TLS: the certificate from files, and from new files without a restart.

Renewed certificates are noticed by their files' times. The new pair is tried in a context of its own first:
loading a certificate whose key doesn't fit would leave the live context with half a pair.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import anyio
from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

_logger = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0

Stamp: TypeAlias = "tuple[tuple[int, int, int], ...]"


class Certificate:
    """A certificate chain and its key, loaded into one live context.

    Attributes:
        context: for the server; handshakes that begin after a reload get the new certificate.
    """

    def __init__(self, certificate: str, key: str) -> None:
        """Load the files.

        Raises:
            ValueError: they can't be read, are no PEM, or don't belong together; the text names them.
        """
        self._files: Sequence[Path] = (Path(certificate), Path(key))
        self._stamp = self._read_stamp()
        self.context = self._load()

    def reload(self) -> bool:
        """Load the files again if they have changed.

        Returns:
            Whether a new pair is in use.

        Raises:
            ValueError: the new files are wrong; the old pair stays in use.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._load()
        certificate, key = self._files
        self.context.load_cert_chain(certificate, key, password="")
        self._stamp = stamp
        return True

    async def watch(self, every: float = _EVERY_SECONDS) -> None:
        """Reload for ever; a pair that is wrong is told once and tried again."""
        told = ""
        while True:
            await anyio.sleep(every)
            try:
                # In a thread: the files may be on a network file system.
                if await to_thread.run_sync(self.reload):
                    _logger.info("TLS certificate reloaded")
                told = ""
            except ValueError as error:
                if str(error) != told:
                    _logger.warning("TLS certificate not reloaded, the old one stays: %s", error)
                told = str(error)

    def _read_stamp(self) -> Stamp:
        try:
            states = [path.stat() for path in self._files]
        except OSError as exc:
            raise ValueError(
                f"server.tls_certificate, server.tls_key: {exc.strerror}: {exc.filename}"
            ) from exc
        return tuple((state.st_mtime_ns, state.st_size, state.st_ino) for state in states)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            # An encrypted key must not have the server wait for a passphrase on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as exc:
            reason = exc.reason if isinstance(exc, ssl.SSLError) else exc
            raise ValueError(
                f"server.tls_certificate {str(certificate)!r} and server.tls_key {str(key)!r}: {reason}"
            ) from exc
        return context
