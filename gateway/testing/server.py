"""A gateway as a process of its own, for tests that need a port, a browser, or something to kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from gateway.client import Client
from gateway.embed.declaration import plain, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

READY_SECONDS: Final = 30.0
"""How long it may take to start, on a busy machine."""

STOP_SECONDS: Final = 25.0
"""How long it may take to drain: ``server.drain_seconds`` and something for a busy machine."""

_POLL_SECONDS: Final = 0.02
_READY: Final = re.compile(r'"gateway ready".*?"url":"(https?://[^"]*:(\d+))"')


class ServerProcess:
    """One gateway process on a free port, which it keeps when it is started again.

    Attributes:
        directory: where it runs: its files are there.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any], *, app: str | None = None) -> None:
        """Make it; nothing runs yet.

        Args:
            directory: an empty one.
            settings: as ``gateway.embed.Gateway`` takes them.
            app: the application to serve as ``module:name``; it brings its own settings.

        Raises:
            InvalidSettings: a setting breaks a rule.
        """
        settings_of(None, dict(settings))
        self.directory = directory
        self._settings = {name: plain(section) for name, section in settings.items()}
        self._app = app
        self._port = 0
        self._url: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address: ``http://127.0.0.1:…``, without a slash at the end.

        Raises:
            RuntimeError: it was never started.
        """
        if self._url is None:
            raise RuntimeError("the gateway was not started")
        return self._url

    @property
    def pid(self) -> int:
        """The id of its process.

        Raises:
            RuntimeError: it doesn't run.
        """
        return self._running().pid

    def client(self, path: str = "", **options: Any) -> Client:  # noqa: ANN401 - as the client has them
        """A client of it; ``path`` is where an application has mounted it, ``options`` as of ``Client``."""
        return Client(self.url + path, **options)

    def log(self) -> str:
        """All that it has said so far."""
        file = self.directory / "log"
        return file.read_text("utf-8", errors="replace") if file.exists() else ""

    def start(self) -> None:
        """Start it, and return when it serves.

        Raises:
            RuntimeError: it doesn't start, with what it said; or it runs already.
        """
        if self._process is not None:
            raise RuntimeError("the gateway runs already")
        said = len(self.log())
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command(),
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until = time.monotonic() + READY_SECONDS
        while (ready := _READY.search(self.log(), said)) is None:
            code = self._process.poll()
            if code is not None or time.monotonic() > until:
                self.end()
                reason = "is not ready" if code is None else f"ended with {code}"
                raise RuntimeError(f"the gateway {reason}:\n{self.log()[said:]}")
            time.sleep(_POLL_SECONDS)
        self._url, self._port = ready[1], int(ready[2])

    def stop(self) -> int:
        """Have it drain and end, as SIGTERM does; returns its exit code.

        It blocks, so clients in the same event loop don't hear that they are sent away: call it in a thread.

        Raises:
            RuntimeError: it doesn't run, or was still there after ``STOP_SECONDS``.
        """
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"the gateway has not ended in {STOP_SECONDS:g} s:\n{self.log()}") from None
        self._process = None
        return code

    def kill(self) -> None:
        """End it without a word, as SIGKILL does.

        Raises:
            RuntimeError: it doesn't run.
        """
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def end(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the gateway doesn't run")
        return self._process

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", str(self._port)]
        return command if self._app is None else [*command, "--app", self._app]

    def _environment(self) -> dict[str, str]:
        """The test's own, without the developer's settings, and with those of the test."""
        found = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        # What the test can import, the application can too.
        found["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        for name, section in self._settings.items():
            found[f"GATEWAY_{name.upper()}"] = json.dumps(section)
        return found
