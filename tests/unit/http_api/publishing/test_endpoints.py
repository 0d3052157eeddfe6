"""Publishing one body, items, and streams of lines, against a real publisher."""

import json

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.body import MessageLimits
from gateway.errors import BusUnavailable
from gateway.http_api.publishing.limits import PublishingLimits
from gateway.http_api.publishing.ndjson import LineSplitter

SMALL = PublishingLimits(
    message=MessageLimits(message_bytes=100, json_depth=8, header_entries=2, header_bytes=30),
    batch_items=3,
    batch_bytes=1_000,
)
JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}


def assert_problem(response, status, code):
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"].endswith(code)
    assert problem["title"]
    assert problem["detail"]
    assert ("retry-after" in response.headers) == (status in {429, 503})


async def test_json_is_embedded_as_sent(open_doors):
    doors = await open_doors()
    response = await doors.client.post("/v1/topics/a/b", content=b' {"x": 1.0} ', headers=JSON)
    [publication] = doors.published
    assert response.status_code == 202
    assert response.json() == {"id": publication.id}
    assert publication.topic == "a/b"
    assert publication.data == b'{"x": 1.0}'
    assert publication.content_type == "application/json"


@pytest.mark.parametrize(
    ("content_type", "body", "data", "binary"),
    [
        ("text/plain", b"h\xc3\xa9", '"hé"'.encode(), None),
        ("text/plain; charset=iso-8859-1", b"h\xe9", '"hé"'.encode(), None),
        ("application/octet-stream", b"\0\xff", None, b"\0\xff"),
        (None, b"\0\xff", None, b"\0\xff"),
        (None, b"", None, b""),
        ("application/problem+json", b"[]", b"[]", None),
    ],
)
async def test_every_content_type_is_kept(open_doors, content_type, body, data, binary):
    doors = await open_doors()
    headers = {} if content_type is None else {"content-type": content_type}
    response = await doors.client.post("/v1/topics/t", content=body, headers=headers)
    assert response.status_code == 202, response.text
    [publication] = doors.published
    assert (publication.content_type, publication.data, publication.binary) == (content_type, data, binary)


async def test_headers_become_the_message_s_own(open_doors):
    doors = await open_doors()
    headers = [
        ("Gateway-Header-Trace", "1"),
        ("gateway-header-trace", "2"),
        ("Gateway-Header-X", "ü"),
        ("Gateway-Key", "customer-7"),
        ("Other", "x"),
    ]
    raw = [(name.encode(), value.encode()) for name, value in headers]
    response = await doors.client.post("/v1/topics/t", content=b"x", headers=raw)
    assert response.status_code == 202, response.text
    [publication] = doors.published
    assert publication.headers == {"trace": "1, 2", "x": "ü"}
    assert publication.key == "customer-7"


@pytest.mark.parametrize(
    "headers",
    [
        [("Gateway-Header-", "x")],
        [(f"Gateway-Header-{n}", "x") for n in range(3)],
        [("Gateway-Header-A", "x" * 30)],
        [("Gateway-Header-A", b"\xff")],
        [("Gateway-Header-A", "a\tb")],
        [("Gateway-Key", "")],
        [("Gateway-Key", "x" * 257)],
        [("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
        [("Content-Encoding", "gzip")],
        [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")],
        [("Content-Encoding", "identity, gzip")],
        [("Content-Type", "text/plain; charset=klingon")],
    ],
)
async def test_bad_headers_are_bad_commands(open_doors, headers):
    doors = await open_doors(limits=SMALL)
    raw = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    response = await doors.client.post("/v1/topics/t", content=b"x", headers=raw)
    assert_problem(response, 400, "bad_command")
    assert doors.published == []


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code"),
    [
        ("/v1/topics/a/+", b"x", {}, 400, "bad_topic"),
        ("/v1/topics/a/%23", b"x", {}, 400, "bad_topic"),
        ("/v1/topics/$SYS/a", b"x", {}, 400, "bad_topic"),
        ("/v1/topics/", b"x", {}, 400, "bad_topic"),
        ("/v1/topics/" + "/".join("a" * 33), b"x", {}, 400, "bad_topic"),
        ("/v1/topics/" + "a" * 513, b"x", {}, 400, "bad_topic"),
        ("/v1/topics/a%00b", b"x", {}, 400, "bad_topic"),
        ("/v1/topics/t", b"x" * 101, {}, 413, "too_large"),
        ("/v1/topics/t", b"{", JSON, 400, "bad_frame"),
        ("/v1/topics/t", b"", JSON, 400, "bad_frame"),
        ("/v1/topics/t", b'"\xff"', JSON, 400, "bad_frame"),
        ("/v1/topics/t", b"[" * 9 + b"]" * 9, JSON, 400, "bad_frame"),
        ("/v1/nothing", b"", {}, 404, "not_found"),
    ],
)
async def test_refusals_are_problems(open_doors, path, body, headers, status, code):
    doors = await open_doors(limits=SMALL)
    assert_problem(await doors.client.post(path, content=body, headers=headers), status, code)
    assert doors.published == []


async def test_another_method_is_a_problem_that_names_the_right_one(open_doors):
    doors = await open_doors()
    response = await doors.client.get("/v1/publish")
    assert_problem(response, 405, "bad_command")
    assert response.headers["allow"] == "POST"
    response = await doors.client.patch("/v1/topics/t")
    assert_problem(response, 405, "bad_command")
    assert set(response.headers["allow"].split(", ")) == {"DELETE", "POST"}


async def test_a_body_without_length_is_refused_where_it_passes_the_bound(open_doors):
    doors = await open_doors(limits=SMALL)
    read = 0

    async def endless():
        nonlocal read
        while True:
            read += 65_536
            yield b"x" * 65_536

    response = await doors.client.post("/v1/topics/t", content=endless())
    assert_problem(response, 413, "too_large")
    assert response.headers["connection"] == "close"
    assert read < 4 * 1024 * 1024


async def test_a_huge_declared_length_is_refused_unread(open_doors):
    doors = await open_doors(limits=SMALL)
    response = await doors.client.post(
        "/v1/topics/t", content=b"x", headers={"content-length": "99999999999999999999999"}
    )
    assert_problem(response, 413, "too_large")
    assert response.headers["connection"] == "close"


async def test_an_idempotency_key_publishes_once(open_doors):
    doors = await open_doors()
    headers = {"Idempotency-Key": "k1"}
    first = await doors.client.post("/v1/topics/t", content=b"x", headers=headers)
    again = await doors.client.post("/v1/topics/t", content=b"x", headers=headers)
    assert first.json() == again.json()
    assert len(doors.published) == 1
    other = await doors.client.post("/v1/topics/t", content=b"y", headers=headers)
    assert_problem(other, 409, "conflict")


async def test_an_unavailable_bus_is_503_with_retry_after(open_doors, remote_bus):
    doors = await open_doors(bus=remote_bus(refuse_after=0))
    assert_problem(await doors.client.post("/v1/topics/t", content=b"x"), 503, "unavailable")


async def test_one_object_has_one_result(open_doors):
    doors = await open_doors()
    item = {"topic": "a", "data": [1], "id": "mine", "headers": {"h": "v"}, "key": "k"}
    response = await doors.client.post("/v1/publish", json=item)
    assert response.status_code == 200
    assert response.json() == {"results": [{"id": "mine"}]}
    [publication] = doors.published
    assert (publication.data, publication.headers, publication.key) == (b"[1]", {"h": "v"}, "k")


async def test_items_fail_alone_and_in_order(open_doors):
    doors = await open_doors(limits=SMALL)
    deep = b"[" * 20 + b"]" * 20
    body = b'[{"topic":"a","data":1,"id":"1"},{"topic":"b","data":%s},{"topic":"+","data":1}]' % deep
    response = await doors.client.post("/v1/publish", content=body, headers=JSON)
    assert response.status_code == 200
    first, second, third = response.json()["results"]
    assert first == {"id": "1"}
    assert second["code"] == "bad_frame"
    assert third["code"] == "bad_topic"
    assert third["reason"]
    assert [publication.topic for publication in doors.published] == ["a"]


async def test_items_that_are_no_objects_fail_alone(open_doors):
    doors = await open_doors()
    response = await doors.client.post(
        "/v1/publish", content=b'[1, null, {"topic": "a", "data": 1, "x": 2}]', headers=JSON
    )
    assert [result["code"] for result in response.json()["results"]] == [
        "bad_frame",
        "bad_frame",
        "bad_command",
    ]


async def test_no_items_have_no_results(open_doors):
    doors = await open_doors()
    response = await doors.client.post("/v1/publish", content=b" [ ] ", headers=JSON)
    assert response.json() == {"results": []}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", JSON, 400, "bad_frame"),
        (b"{", JSON, 400, "bad_frame"),
        (b"[{]", JSON, 400, "bad_frame"),
        (b"7", JSON, 400, "bad_frame"),
        (b'"a"', JSON, 400, "bad_frame"),
        (b'[{"topic":"\xff","data":1}]', JSON, 400, "bad_frame"),
        (b"[{}] x", JSON, 400, "bad_frame"),
        (b"[" * 900, JSON, 400, "bad_frame"),
        (b"[1,2,3,4]", JSON, 413, "too_large"),
        (b" " * 1_001, JSON, 413, "too_large"),
        (b"{}", {"content-type": "text/plain"}, 400, "bad_command"),
        (b"{}", JSON | {"content-encoding": "gzip"}, 400, "bad_command"),
        (b"{}", LINES | {"content-encoding": "gzip"}, 400, "bad_command"),
    ],
)
async def test_a_wrong_envelope_fails_as_a_whole(open_doors, body, headers, status, code):
    doors = await open_doors(limits=SMALL)
    assert_problem(await doors.client.post("/v1/publish", content=body, headers=headers), status, code)


async def test_results_of_a_remote_bus_are_awaited_in_order(open_doors, remote_bus):
    bus = remote_bus()
    doors = await open_doors(bus=bus)
    items = [{"topic": "t", "data": n, "id": str(n)} for n in range(3)]
    async with anyio.create_task_group() as tasks:

        async def publish():
            response = await doors.client.post("/v1/publish", json=items)
            assert response.json() == {"results": [{"id": "0"}, {"id": "1"}, {"id": "2"}]}

        tasks.start_soon(publish)
        while len(bus.waiting) < 3:
            await anyio.lowlevel.checkpoint()
        bus.settle()


async def test_a_stream_of_lines_is_counted(open_doors):
    doors = await open_doors()
    body = b'{"topic":"a","data":1}\r\n\n  \n{"topic":"#","data":1}\n[]\n{"topic":"b","data":2}'
    response = await doors.client.post("/v1/publish", content=body, headers=LINES)
    assert response.status_code == 200
    summary = response.json()
    assert (summary["accepted"], summary["failed"]) == (2, 2)
    assert [(error["line"], error["code"]) for error in summary["errors"]] == [
        (4, "bad_topic"),
        (5, "bad_frame"),
    ]
    assert "stopped_at" not in summary
    assert [publication.data for publication in doors.published] == [b"1", b"2"]


async def test_a_long_stream_is_taken_piece_by_piece_and_reports_100_errors(open_doors):
    doors = await open_doors(limits=SMALL)
    overlong = b'{"topic":"t","data":"' + b"x" * 100_000 + b'"}\n'

    async def pieces():
        for n in range(500):
            line = b'{"topic":"t","data":%d}\nnonsense\n' % n
            yield line[:7]
            yield line[7:]
        yield overlong[:60_000]
        yield overlong[60_000:]
        yield b'{"topic":"t","data":"last"}'

    response = await doors.client.post("/v1/publish", content=pieces(), headers=LINES)
    summary = response.json()
    assert (summary["accepted"], summary["failed"]) == (501, 501)
    assert [error["line"] for error in summary["errors"]] == list(range(2, 202, 2))
    assert [p.data for p in doors.published] == [b"%d" % n for n in range(500)] + [b'"last"']


async def test_a_stream_stops_at_the_first_unavailable(open_doors, remote_bus):
    bus = remote_bus(refuse_after=2)
    doors = await open_doors(bus=bus)
    given_up = False

    async def pieces():
        yield b'{"topic":"t","data":1}\n' * 5
        nonlocal given_up
        yield b'{"topic":"t","data":1}\n' * 5
        given_up = True

    async with anyio.create_task_group() as tasks:

        async def publish():
            response = await doors.client.post("/v1/publish", content=pieces(), headers=LINES)
            assert response.status_code == 200
            summary = response.json()
            assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (2, 1, 3)
            assert summary["errors"][0]["code"] == "unavailable"
            assert response.headers["connection"] == "close"

        tasks.start_soon(publish)
        while len(bus.waiting) < 2:
            await anyio.lowlevel.checkpoint()
        bus.settle()
    assert not given_up


async def test_a_stream_whose_answers_fail_later_stops_too(open_doors, remote_bus):
    bus = remote_bus()
    doors = await open_doors(bus=bus)
    async with anyio.create_task_group() as tasks:

        async def publish():
            body = b'{"topic":"t","data":1}\n' * 3
            summary = (await doors.client.post("/v1/publish", content=body, headers=LINES)).json()
            assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (0, 3, 1)

        tasks.start_soon(publish)
        while len(bus.waiting) < 3:
            await anyio.lowlevel.checkpoint()
        bus.settle(BusUnavailable("gone"))


async def test_a_token_must_be_a_bearer_token(open_doors):
    doors = await open_doors()
    response = await doors.client.post("/v1/topics/t", content=b"x", headers={"authorization": "Basic eA=="})
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"


@given(
    lines=st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_lines_are_the_same_however_the_body_is_cut(lines, cuts):
    body = b"\n".join(lines)
    splitter = LineSplitter(limit=8)
    found, start = [], 0
    for cut in [*sorted(cuts), len(body)]:
        found += splitter.feed(body[start:cut])
        start = max(start, cut)
    found += splitter.finish()
    expected = [line if len(line) <= 8 else None for line in lines]
    if expected and expected[-1] == b"":
        expected.pop()
    assert found == expected


def test_an_overlong_line_is_not_held():
    splitter = LineSplitter(limit=10)
    for _ in range(1_000):
        assert splitter.feed(b"x" * 9) == []
    assert splitter.feed(b"\nok\n") == [None, b"ok"]
    assert json.dumps(splitter.finish()) == "[]"


@pytest.mark.parametrize("root_path", ["", "/below"])
async def test_the_routes_answer_where_the_door_leaves_a_request_to_them(open_doors, root_path) -> None:
    doors = await open_doors(root_path=root_path)
    published = await doors.client.post("/v1/topics/a", json=1)
    items = await doors.client.post("/v1/publish", json={"topic": "b", "data": 2})
    refused = await doors.client.post("/v1/topics/a/%23", json=1)
    broken = await doors.client.post(
        "/v1/publish", content=b"{", headers={"content-type": "application/json"}
    )
    elsewhere = await doors.client.get("/v1/topics/a")
    statuses = [answer.status_code for answer in (published, items, refused, broken, elsewhere)]
    assert statuses == [202, 200, 400, 400, 405]
    assert [refused.json()["code"], broken.json()["code"]] == ["bad_topic", "bad_frame"]
    assert [publication.topic for publication in doors.published] == ["a", "b"]
