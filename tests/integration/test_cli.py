"""The command line against a real gateway process."""

from __future__ import annotations

import http.server
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 3 * HANG_SECONDS  # for a command that has to start first


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *arguments]


def run(*arguments: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command(*arguments),
        input=stdin,
        check=False,
        capture_output=True,
        timeout=SECONDS,
        env=environment() | variables,
    )


@contextmanager
def subscriber(url: str, *arguments: str, filters: int = 1, stdout: int = subprocess.PIPE) -> Iterator[Any]:
    """A ``gateway subscribe`` from the moment its subscriptions have begun."""
    process = subprocess.Popen(
        command("subscribe", "--url", url, *arguments),
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stderr is not None
        for _ in range(filters):
            line = process.stderr.readline()
            assert line.startswith(b"subscribed to "), line
        yield process
    finally:
        process.kill()
        process.communicate()


def received(process: Any) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def gateway(gateway_process: Callable[..., Any]) -> Any:
    return gateway_process()


def test_what_is_published_is_printed(gateway: Any) -> None:
    with subscriber(gateway.url, "orders/#", "orders/+", "--count", "5", filters=2) as process:
        first = run(
            "publish", "orders/eu", '{"total":  1.0}', "--id", "one", "--header", "a=b", "--url", gateway.url
        )
        assert (first.returncode, first.stdout) == (0, b"one\n")
        assert run("publish", "orders/eu/x", "two\nlines", "--url", gateway.url).returncode == 0
        assert run("publish", "orders/", stdin=b"\xff\x00", GATEWAY_URL=gateway.url).returncode == 0
        assert run("publish", "orders", "-", "--url", gateway.url, stdin=b'{"a":\n1}\n').returncode == 0
        assert run("publish", "orders/eu", "--deleted", "--id", "z", "--url", gateway.url).returncode == 0
        messages = received(process)
    for message in messages:
        assert message.pop("time") > 0
    assert messages[0] == {
        "topic": "orders/eu",
        "id": "one",
        "content_type": "application/json",
        "headers": {"a": "b"},
        "data": {"total": 1.0},
    }
    assert (messages[1]["data"], messages[1]["content_type"]) == ("two\nlines", "text/plain")
    assert (messages[2]["data_base64"], messages[2]["content_type"]) == ("/wA=", "application/octet-stream")
    assert messages[3]["data"] == {"a": 1}
    assert messages[4] == {"topic": "orders/eu", "id": "z", "deleted": True}


def test_a_deletion_takes_no_message(gateway: Any) -> None:
    for more in (("1",), ("--file", "x"), ("--lines",), ("--content-type", "text/plain")):
        assert run("publish", "t", "--deleted", *more, "--url", gateway.url).returncode == 2


def test_every_line_becomes_a_message(gateway_process: Callable[..., Any]) -> None:
    gateway = gateway_process("limits.outbox_messages = 10_000")  # it isn't about a subscriber that is slow
    lines = b"".join(b'{"n": %d}\n' % number for number in range(2000))
    with subscriber(gateway.url, "n", "--count", "2000") as process:
        reader = threading.Thread(target=lambda: messages.extend(received(process)))
        messages: list[dict[str, Any]] = []
        reader.start()
        done = run("publish", "n", "--lines", "--url", gateway.url, stdin=lines + b"\n")
        reader.join()
    assert (done.returncode, done.stdout) == (0, b"2000 accepted, 0 failed\n")
    assert [message["data"]["n"] for message in messages] == list(range(2000))


def test_a_refusal_ends_with_1(gateway: Any) -> None:
    for arguments in (("publish", "a/#", "1"), ("publish", "$x", "1"), ("publish", "t", "x" * 70_000)):
        done = run(*arguments, "--url", gateway.url)
        assert done.returncode == 1, done
        assert done.stderr.startswith((b"gateway: bad_topic: ", b"gateway: too_large: "))
    done = run("subscribe", "a/#/b", "--url", gateway.url)
    assert done.returncode == 1
    assert done.stderr.startswith(b"gateway: bad_filter: ")
    done = run("publish", "a/#", "--lines", "--url", gateway.url, stdin=b"1\n2\n")
    assert (done.returncode, done.stdout) == (1, b"0 accepted, 2 failed\n")
    assert b"line 1: bad_topic" in done.stderr


def test_a_repeat_with_its_idempotency_key_is_answered_as_before(gateway: Any) -> None:
    arguments = ("publish", "t", "1", "--idempotency-key", "k", "--url", gateway.url)
    assert run(*arguments).stdout == run(*arguments).stdout != b""


def test_no_gateway_ends_with_3(gateway: Any) -> None:
    gateway.stop()
    for arguments in (("publish", "t", "1"), ("subscribe", "t"), ("publish", "t", "--lines")):
        done = run(*arguments, "--url", gateway.url, stdin=b"1\n")
        assert done.returncode == 3, done
        assert gateway.url.encode() in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(gateway: Any) -> None:
    proxy = "http://127.0.0.1:1"
    assert run("publish", "t", "1", "--url", gateway.url, HTTP_PROXY=proxy, http_proxy=proxy).returncode == 0


def test_time_runs_out_with_1_only_if_a_count_was_asked_for(gateway: Any) -> None:
    assert run("subscribe", "t", "--timeout", "0.1", "--url", gateway.url).returncode == 0
    assert run("subscribe", "t", "--timeout", "0.1", "--count", "1", "--url", gateway.url).returncode == 1


def test_an_interrupt_ends_with_130(gateway: Any) -> None:
    with subscriber(gateway.url, "t") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert process.stderr.read() == b""


def test_a_reader_that_leaves_ends_it_with_0(gateway: Any) -> None:
    with subscriber(gateway.url, "t") as process:
        process.stdout.close()
        run("publish", "t", "1", "--url", gateway.url)
        assert process.wait(SECONDS) == 0
        assert process.stderr.read() == b""


def test_a_terminal_gets_lines_for_people(gateway: Any) -> None:
    ours, theirs = pty.openpty()
    with subscriber(gateway.url, "t", "--count", "1", stdout=theirs) as process:
        os.close(theirs)
        run("publish", "t", "bad \x1b[2J [red]", "--url", gateway.url)
        assert process.wait(SECONDS) == 0
        text = os.read(ours, 65536).decode()
    os.close(ours)
    assert r"bad \x1b[2J [red]" in text


def test_it_reconnects_and_says_so(gateway: Any) -> None:
    with subscriber(gateway.url, "t", "--count", "1") as process:
        gateway.kill()
        gateway.start()
        assert process.stderr.readline().startswith(b"gap: an unknown number of messages of 't'")
        run("publish", "t", "1", "--url", gateway.url)
        assert [message["data"] for message in received(process)] == [1]


def test_a_taken_port_is_said_in_one_line(gateway: Any) -> None:
    done = run("serve", "--port", str(gateway.port))
    assert done.returncode == 1
    assert done.stderr.startswith(b"gateway: can't listen on 127.0.0.1: ")
    assert b"Traceback" not in done.stderr


class Odd(http.server.BaseHTTPRequestHandler):
    """Answers that are no gateway's; the path chooses."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = {
            "/garbage/v1/publish": (200, b"<html>"),
            "/list/v1/publish": (200, b"[]"),
            "/empty/v1/publish": (200, b'{"results": []}'),
            "/proxy/v1/publish": (502, b"bad gateway"),
            "/away/v1/publish": (503, b'{"code": "unavailable", "detail": "draining"}'),
            "/full/v1/publish": (429, b'{"code": "rate_limited", "detail": "slower"}'),
        }[self.path]
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("garbage", 1, "not a gateway's"),
        ("list", 1, "not a gateway's"),
        ("empty", 1, "not a gateway's"),
        ("proxy", 3, "unavailable: Bad Gateway"),
        ("away", 3, "unavailable: draining"),
        ("full", 1, "rate_limited: slower"),
    ],
)
def test_other_answers(odd: str, path: str, code: int, words: str) -> None:
    done = run("publish", "t", "1", "--url", f"{odd}/{path}")
    assert (done.returncode, done.stderr.decode().count("\n")) == (code, 1)
    assert words in done.stderr.decode()


def test_check_reads_settings_from_a_pipe() -> None:
    done = run("check", "--config", "/dev/stdin", stdin=b"server.port = 4711\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"port = 4711" in done.stdout
    assert run("check", "--config", "/dev/stdin", stdin=b"server.prot = 1\n").returncode == 2
    assert b"there is no such file" in run("check", "--config", "/nowhere.toml").stderr
    assert b"Is a directory" in run("check", "--config", "/").stderr
