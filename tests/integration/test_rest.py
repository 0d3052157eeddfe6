"""Publishing over HTTP against a real gateway process, down to the bytes of the request."""

import http.client
import json
import socket
from contextlib import ExitStack, suppress

import pytest
from websockets.sync.client import connect

from tests.patience import HANG_SECONDS

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def gateway(module_gateway_process):
    return module_gateway_process()


@pytest.fixture
def subscribe(gateway):
    """Opens subscribers; each is a function that returns the next message."""
    with ExitStack() as stack:

        def open_subscriber(topic_filter):
            websocket = stack.enter_context(connect(gateway.ws_url))
            assert json.loads(websocket.recv(timeout=HANG_SECONDS))["op"] == "welcome"
            websocket.send(json.dumps({"op": "subscribe", "filter": topic_filter}))
            assert json.loads(websocket.recv(timeout=HANG_SECONDS))["op"] == "subscribed"
            return lambda: json.loads(websocket.recv(timeout=HANG_SECONDS))

        yield open_subscriber


def exchange(gateway, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are and read one response."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(request)
        response = http.client.HTTPResponse(sock, method="POST")
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()


def post(target: str, body: bytes = b"x", *headers: str) -> bytes:
    head = [f"POST {target} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("target", "topic"),
    [
        ("/v1/topics/paths/a", "paths/a"),
        ("/v1/topics/paths//a/", "paths//a/"),
        ("/v1/topics/paths%2Fa", "paths/a"),
        ("/v1/topics/paths/a%252Fb", "paths/a%2Fb"),
        ("/v1/topics/paths/%C3%BC%20%3F", "paths/ü ?"),
        ("/v1/topics/paths/a%0Ab", "paths/a\nb"),
        ("/v1/topics/paths/...", "paths/..."),
    ],
)
def test_the_topic_is_what_the_path_says(gateway, subscribe, target, topic):
    receive = subscribe("paths/#")
    status, headers, body = exchange(gateway, post(target, b"hi", "Content-Type: text/plain"))
    assert (status, headers["content-type"]) == (202, "application/json")
    message = receive()
    assert (message["topic"], message["data"]) == (topic, "hi")
    assert message["id"] == json.loads(body)["id"]


def test_an_empty_first_level_is_a_topic_of_its_own(gateway, subscribe):
    receive = subscribe("/first")
    assert exchange(gateway, post("/v1/topics//first"))[0] == 202
    assert receive()["topic"] == "/first"


@pytest.mark.parametrize(
    "target",
    [
        "/v1/topics/a/../b",
        "/v1/topics/a/%2e%2e/b",
        "/v1/topics/.",
        "/v1/topics/a%2F.%2Fb",
        "/v1/topics/%ff",
        "/v1/topics/%zz",
        "/v1/topics/a/+/b",
        "/v1/topics/%23",
        "/v1/topics/$gateway/x",
        "/v1/topics/%00",
        "/v1/topics/",
    ],
)
def test_what_is_no_topic_is_refused(gateway, target):
    status, headers, body = exchange(gateway, post(target))
    assert (status, json.loads(body)["code"]) == (400, "bad_topic")
    assert headers["content-type"] == "application/problem+json"


def test_content_types_arrive_as_they_were_sent(gateway, subscribe):
    receive = subscribe("types")
    for content_type, body in [
        ("application/json", b'{"price": 1.10}'),
        ("text/plain", "grüße".encode()),
        ("image/png", b"\x89PNG\xff"),
    ]:
        assert exchange(gateway, post("/v1/topics/types", body, f"Content-Type: {content_type}"))[0] == 202
        message = receive()
        assert message["content_type"] == content_type
        expected = {
            "application/json": {"data": {"price": 1.1}},
            "text/plain": {"data": "grüße"},
            "image/png": {"data_base64": "iVBOR/8="},
        }[content_type]
        assert {name: message[name] for name in expected} == expected


def test_a_declared_length_over_the_bound_is_refused_before_it_is_sent(gateway):
    head = b"POST /v1/topics/t HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n"
    status, _, body = exchange(gateway, head + b"Expect: 100-continue\r\n\r\n")
    assert (status, json.loads(body)["code"]) == (413, "too_large")


def test_ten_megabytes_are_refused_and_cost_no_memory(gateway):
    before = gateway.rss()
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=HANG_SECONDS)
        connection.request("POST", "/v1/topics/t", body=b"x" * 10_000_000)
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read())["code"] == "too_large"
        # What was sent in vain has been thrown away: the connection still works.
        connection.request("POST", "/v1/topics/t", body=b"x")
        assert connection.getresponse().status == 202
        connection.close()
    assert gateway.rss() - before < 8 * MEBIBYTE


def test_an_endless_body_is_cut_off(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(b"POST /v1/topics/t HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        taken = 0
        with suppress(ConnectionError):
            while taken < 64 * MEBIBYTE:
                sock.sendall(chunk)
                taken += len(chunk)
        assert taken < 64 * MEBIBYTE


def test_a_client_that_hangs_up_in_mid_body_leaves_no_trace(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as sock:
        sock.sendall(post("/v1/topics/t", b"x" * 100)[:-50])
    assert exchange(gateway, post("/v1/topics/t"))[0] == 202  # no traceback: the fixture looks


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("DELETE", "/v1/publish", 405, "bad_command"),
        ("POST", "/v1%2Ftopics/a", 404, "not_found"),
    ],
)
def test_every_refusal_is_a_problem(gateway, method, target, status, code):
    answer = exchange(gateway, post(target).replace(b"POST", method.encode(), 1))
    assert (answer[0], json.loads(answer[2])["code"]) == (status, code)
    assert answer[1]["content-type"] == "application/problem+json"


def test_a_batch_arrives_in_order(gateway, subscribe):
    receive = subscribe("batch/+")
    items = [{"topic": f"batch/{n % 3}", "data": n, "id": f"b{n}"} for n in range(500)]
    items[250] = {"topic": "batch/#", "data": 250}
    status, _, body = exchange(
        gateway, post("/v1/publish", json.dumps(items).encode(), "Content-Type: application/json")
    )
    results = json.loads(body)["results"]
    assert status == 200
    assert results[250]["code"] == "bad_topic"
    accepted = [n for n in range(500) if n != 250]
    assert [result["id"] for result in results if "id" in result] == [f"b{n}" for n in accepted]
    assert [receive()["data"] for _ in accepted] == accepted


def test_a_long_stream_of_lines_is_published_in_bounded_memory(gateway):
    before = gateway.rss()
    lines = 200_000

    def pieces():
        padding = "x" * 100
        for start in range(0, lines, 1_000):
            yield b"".join(
                b'{"topic":"stream/%d","data":"%s"}\n' % (n % 50, padding.encode())
                for n in range(start, start + 1_000)
            )
        yield b"nonsense\n\n" + b'{"topic":"stream/end","data":"' + b"x" * 200_000 + b'"}\n'

    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    connection.request("POST", "/v1/publish", pieces(), {"Content-Type": "application/x-ndjson"})
    summary = json.loads(connection.getresponse().read())
    connection.close()
    assert (summary["accepted"], summary["failed"]) == (lines, 2)
    assert [(error["line"], error["code"]) for error in summary["errors"]] == [
        (lines + 1, "bad_frame"),
        (lines + 3, "too_large"),
    ]
    assert gateway.rss() - before < 16 * MEBIBYTE


def test_lines_are_published_as_they_arrive(gateway, subscribe):
    receive = subscribe("live")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as sock:
        head = "POST /v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
        sock.sendall(head.encode() + b"Content-Type: application/x-ndjson\r\n\r\n")
        line = b'{"topic":"live","data":1}\n'
        sock.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        assert receive()["data"] == 1
        sock.sendall(b"0\r\n\r\n")
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert json.loads(response.read()) == {"accepted": 1, "failed": 0, "errors": []}


def test_a_deep_body_is_refused_alone(gateway):
    deep = b"[" * 10_000 + b"]" * 10_000
    headers = "Content-Type: application/json"
    status, _, body = exchange(gateway, post("/v1/topics/t", deep, headers))
    assert (status, json.loads(body)["code"]) == (400, "bad_frame")
    status, _, body = exchange(gateway, post("/v1/publish", b'{"topic":"t","data":%s}' % deep, headers))
    assert (status, json.loads(body)["code"]) == (400, "bad_frame")
