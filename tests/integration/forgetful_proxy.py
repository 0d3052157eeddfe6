"""A proxy before a gateway that hands requests on and, for as many as it is told, forgets the answer."""

from __future__ import annotations

import http.client
import http.server
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDED_ON = ("content-type", "authorization")


class ForgetfulProxy:
    """What it was asked, and what it is to do next.

    Attributes:
        port: where it listens.
        bodies: what came, as it came.
        authorizations: the header of each.
        forget: how many answers it will forget from now on, ending the connection instead.
        refuse: statuses to answer the next requests with, which are not handed on.
        hold: cleared, answers wait until it is set.
    """

    def __init__(self, gateway_port: int) -> None:
        self.gateway_port = gateway_port
        self.port = 0
        self.bodies: list[bytes] = []
        self.authorizations: list[str | None] = []
        self.forget = 0
        self.refuse: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        self.came = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def forgetful_proxy(gateway_port: int) -> Iterator[ForgetfulProxy]:
    proxy = ForgetfulProxy(gateway_port)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = HANG_SECONDS

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            proxy.bodies.append(body)
            proxy.authorizations.append(self.headers["authorization"])
            proxy.came.release()
            if proxy.refuse:
                self._answer(proxy.refuse.pop(0), b"<html>")
                return
            status, answer = self._asked(body)
            proxy.hold.wait(HANG_SECONDS)
            if proxy.forget:
                proxy.forget -= 1
                self.close_connection = True
            else:
                self._answer(status, answer)

        def _asked(self, body: bytes) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.gateway_port, timeout=HANG_SECONDS)
            headers = {name: self.headers[name] for name in HANDED_ON if name in self.headers}
            connection.request("POST", self.path, body, headers)
            response = connection.getresponse()
            answer = response.status, response.read()
            connection.close()
            return answer

        def _answer(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # who asked has given up

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False  # so that nothing is handed on once the block is left
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.hold.set()
            server.shutdown()
            thread.join()
