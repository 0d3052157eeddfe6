"""Asking a gateway over HTTP, for commands that need no socket: its answer, or one line that says why not."""

import json
import re
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from gateway.cli.exits import ExitCode, fail

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    import httpx2

_LOGIN: Final = re.compile(r"[^/?#]*//[^/?#]*@")
_SECONDS: Final = 15.0
_BETWEEN_LINES: Final = 600.0


def ask(
    url: str,
    path: str,
    token: str | None,
    *,
    tls: "ssl.SSLContext | None" = None,
    content: "bytes | Iterator[bytes] | None" = None,
    content_type: str | None = None,
    method: str | None = None,
    seconds: float = _SECONDS,
) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON that the gateway at ``url`` answers; posts ``content``, or gets where there is none.

    Ends the command where no gateway answers within ``seconds``, or one refuses.
    """
    headers = {} if content_type is None else {"content-type": content_type}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    response = send(url, path, headers, tls=tls, content=content, method=method, seconds=seconds)
    if response.status_code != 200:
        _refuse(response)
    return read(response.json)


def ask_lines(
    url: str, path: str, token: str | None, *, tls: "ssl.SSLContext | None" = None, method: str
) -> "Iterator[Any]":
    """Give the JSON of each line that the gateway at ``url`` answers, as they come; ends as ``ask``."""
    headers = {"accept": "application/x-ndjson"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    address = url.rstrip("/") + path
    with (
        _answered(url),
        _client(url, tls, seconds=_BETWEEN_LINES) as client,
        client.stream(method, address, headers=headers) as response,
    ):
        if response.status_code != 200:
            response.read()
            _refuse(response)
        for line in response.iter_lines():
            yield read(partial(json.loads, line))


def read(take: "Callable[[], Any]") -> Any:  # noqa: ANN401 - JSON
    """Return what ``take`` finds in an answer, or end: the answer is not a gateway's."""
    try:
        return take()
    except (ValueError, LookupError, TypeError, AttributeError):
        fail("the answer is not a gateway's; is --url right?", ExitCode.REFUSED)


def member(answer: Any, name: str) -> Any:  # noqa: ANN401 - JSON
    """Return a member of an answer, or end, see ``read``."""
    return read(lambda: answer[name])


def refused(code: str, reason: str) -> NoReturn:
    """End with what the gateway said."""
    fail(f"{code}: {reason}", ExitCode.UNAVAILABLE if code == "unavailable" else ExitCode.REFUSED)


def send(
    url: str,
    path: str,
    headers: "Mapping[str, str]",
    *,
    tls: "ssl.SSLContext | None" = None,
    content: "bytes | Iterator[bytes] | None" = None,
    method: str | None = None,
    seconds: float = _SECONDS,
) -> "httpx2.Response":
    """Return the answer of the gateway at ``url``, whatever it is, or end: none answers."""
    with _answered(url), _client(url, tls, seconds=seconds) as client:
        return client.request(
            method or ("GET" if content is None else "POST"),
            url.rstrip("/") + path,
            content=content,
            headers={name.encode(): value.encode() for name, value in headers.items()},
        )


def _client(url: str, tls: "ssl.SSLContext | None", *, seconds: float) -> "httpx2.Client":
    import httpx2  # noqa: PLC0415 - keeps `gateway --help` quick

    if _LOGIN.match(url):
        # Not repeated, as errors would. The gateway takes no such credential.
        fail(
            "--url: no credential belongs into it: GATEWAY_TOKEN or --token-env has the token", ExitCode.USAGE
        )
    # A proxy can't reach this machine's loopback for us.
    return httpx2.Client(
        timeout=seconds, trust_env=not _is_loopback(url), verify=True if tls is None else tls
    )


@contextmanager
def _answered(url: str) -> "Iterator[None]":
    """End the command where no gateway answers."""
    import httpx2  # noqa: PLC0415 - as above

    try:
        yield
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
        fail(f"--url {url!r}: give it as http://HOST:PORT or https://HOST", ExitCode.USAGE)
    except httpx2.TransportError as exc:
        fail(f"no gateway answers at {url}: {exc or type(exc).__name__}", ExitCode.UNAVAILABLE)


def _is_loopback(url: str) -> bool:
    from gateway.core.loopback import is_loopback  # noqa: PLC0415 - as above

    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _refuse(response: "httpx2.Response") -> NoReturn:
    try:
        problem = response.json()
        code, reason = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        code, reason = f"HTTP {response.status_code}", response.reason_phrase
    # 502 and 504 are a proxy's, before a gateway that doesn't answer.
    refused("unavailable" if response.status_code in {502, 503, 504} else code, reason)
