"""Publishing over HTTP to topics that a stream captures, and what a failing store makes of it."""

import anyio
import pytest

from gateway.errors import Conflict, RateLimited, StoreFull, StreamUnavailable
from gateway.http_api.webhooks.endpoint import Hook
from gateway.streams.base import Appended
from gateway.streams.memory import MemoryStore
from tests.unit.engine.scripted_store import ScriptedStore

from .conftest import CAPTURED

LINES = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}
HOOK = {"name": "h", "scheme": "none", "topic": "captured/{header.x-kind}"}


@pytest.fixture
async def store():
    store = MemoryStore(CAPTURED)
    await store.start()
    yield store
    await store.stop()


def line(number):
    return b'{"topic":"captured/x","data":%d}\n' % number


async def answered(doors, store, count, settle, content, headers=LINES):
    """Post to /v1/publish, settle the store once `count` appends wait, and return the answer."""
    answers = []

    async def publish():
        answers.append(await doors.client.post("/v1/publish", content=content, headers=headers))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publish)
        while len(store.waiting) < count:
            await anyio.lowlevel.checkpoint()
        settle()
    return answers[0]


async def test_a_stored_message_is_201_with_stream_and_offset(open_doors, store):
    doors = await open_doors(store=store)
    for offset in (1, 2):
        response = await doors.client.post("/v1/topics/captured/x", content=b"1")
        assert response.status_code == 201
        assert response.json() == {"id": response.json()["id"], "stream": "s", "offset": offset}
    assert doors.published == []


async def test_a_repeat_is_201_with_the_first_answer(open_doors, store):
    doors = await open_doors(store=store)
    headers = {"idempotency-key": "k"}
    first = await doors.client.post("/v1/topics/captured/x", content=b"1", headers=headers)
    again = await doors.client.post("/v1/topics/captured/x", content=b"1", headers=headers)
    other = await doors.client.post("/v1/topics/captured/x", content=b"2", headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StreamUnavailable("away"), 503, "unavailable"),
        (StoreFull("no room"), 507, "unavailable"),
        (RateLimited("too much waits"), 429, "rate_limited"),
    ],
)
async def test_what_could_not_be_stored_says_why(open_doors, error, status, code):
    store = ScriptedStore()
    store.refusal = error
    doors = await open_doors(store=store)
    response = await doors.client.post("/v1/topics/captured/x", content=b"1")
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert ("retry-after" in response.headers) == (status != 507)
    assert response.json()["title"]


async def test_each_item_of_an_array_has_its_own_answer(open_doors):
    store = ScriptedStore()
    doors = await open_doors(store=store)

    def settle():
        store.keep(0)
        store.waiting[1].set_exception(Conflict("used"))
        store.waiting[2].set_exception(StreamUnavailable("away"))
        store.keep(3)

    items = b"[" + b",".join(line(number) for number in range(4)) + b',{"topic":"live","data":1}]'
    results = (await answered(doors, store, 4, settle, items, JSON)).json()["results"]
    assert [each.get("code", each.get("offset")) for each in results] == [
        1, "conflict", "unavailable", 4, None,
    ]  # fmt: skip
    assert [each.topic for each in doors.published] == ["live"]


async def test_lines_are_on_their_way_together(open_doors):
    store = ScriptedStore()
    doors = await open_doors(store=store)

    def settle():
        for number in reversed(range(600)):
            store.keep(number)

    response = await answered(doors, store, 600, settle, b"".join(line(number) for number in range(600)))
    assert response.json() == {"accepted": 600, "failed": 0, "errors": []}


@pytest.mark.parametrize("error", [StreamUnavailable("away"), StoreFull("no room")])
async def test_lines_stop_where_the_store_was_unavailable(open_doors, error):
    store = ScriptedStore()
    doors = await open_doors(store=store)

    def settle():
        store.keep(0)
        store.waiting[1].set_exception(Conflict("used"))
        store.waiting[2].set_exception(error)
        store.keep(3)

    response = await answered(doors, store, 4, settle, b"".join(line(number) for number in range(4)))
    summary = response.json()
    assert (summary["accepted"], summary["failed"], summary["stopped_at"]) == (2, 2, 3)
    errors = [(each["line"], each["code"]) for each in summary["errors"]]
    assert errors == [
        (2, "conflict"),
        (3, "unavailable"),
    ]
    assert len(store.appended) == 4


async def test_a_hook_s_delivery_is_stored_and_its_repeat_answered_as_before(open_doors, store):
    hook = Hook.build(**HOOK, id_header="x-delivery")
    doors = await open_doors(hooks=[hook], store=store)
    headers = {"x-kind": "push", "x-delivery": "d1"}
    first = await doors.client.post("/v1/hooks/h", content=b"1", headers=headers)
    again = await doors.client.post("/v1/hooks/h", content=b"1", headers=headers)
    assert (first.status_code, first.json()["stream"], first.json()["offset"]) == (201, "s", 1)
    assert (again.status_code, again.json()) == (201, first.json())
    assert (await store.bounds("s")).last == 1


async def test_a_hook_s_delivery_that_was_not_stored_may_be_repeated(open_doors):
    store = ScriptedStore()
    hook = Hook.build(**HOOK, id_header="x-delivery")
    doors = await open_doors(hooks=[hook], store=store)
    headers = {"x-kind": "push", "x-delivery": "d1"}
    statuses = []

    async def deliver():
        statuses.append((await doors.client.post("/v1/hooks/h", content=b"1", headers=headers)).status_code)

    for number, outcome in enumerate((StreamUnavailable("away"), Appended("m", 1))):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver)
            while len(store.waiting) <= number:
                await anyio.lowlevel.checkpoint()
            if isinstance(outcome, Exception):
                store.waiting[number].set_exception(outcome)
            else:
                store.waiting[number].set_result(outcome)
    assert statuses == [503, 201]


async def test_a_delay_is_stored_with_the_message(open_doors, store):
    doors = await open_doors(store=store)
    headers = {"gateway-delay": "1500", "gateway-key": "k"}
    response = await doors.client.post("/v1/topics/captured/x", content=b"1", headers=headers)
    assert response.status_code == 201
    item = b'[{"topic":"captured/x","data":1,"delay":7},{"topic":"live","data":1,"delay":7}]'
    results = (await doors.client.post("/v1/publish", content=item, headers=JSON)).json()["results"]
    assert [each.get("code") for each in results] == [None, "bad_command"]
    kept = (await store.read("s", 0, messages=10)).publications
    assert [(each.key, each.delay) for each in kept] == [("k", 1500), (None, 7)]


@pytest.mark.parametrize("delay", ["-1", "1.5", "x", "2592000001", "1" * 30, ""])
async def test_a_delay_that_is_none_is_refused(open_doors, store, delay):
    doors = await open_doors(store=store)
    headers = {"gateway-delay": delay}
    response = await doors.client.post("/v1/topics/captured/x", content=b"1", headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "bad_command")
