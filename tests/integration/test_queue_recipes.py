"""The recipes of docs/queues.md, run as they are pasted; only the gateway's address is the test's own."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from gateway.client import Backoff, Client, Worker
from tests.patience import HANG_SECONDS

from .group_client import figures, publish
from .raw_client import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import RunningGateway, StartGateway

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = (DOCS / "queues.md").read_text("utf-8").split("\n## Recipes\n")[1].split("\n## ")[0]
PAYMENTS = """
[[streams]]
name = "payments"
filter = "payments/#"
[[streams.groups]]
name = "charge"
backoff = [0.01]
[[streams.groups]]
name = "book"
backoff = [0.01]
"""


def blocks(language: str, heading: str = "") -> list[str]:
    """The code blocks of one language under a heading of the recipes, or of all."""
    section = RECIPES.split(f"\n### {heading}\n")[1].split("\n### ")[0] if heading else RECIPES
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def installed(code: str) -> str:
    """The same with what FastAPI stands on, where it isn't there: without routes they don't differ."""
    if importlib.util.find_spec("fastapi") is not None:
        return code
    return code.replace("from fastapi import", "from starlette.applications import Starlette as")


def recipe(heading: str, **given: Any) -> SimpleNamespace:
    """What the recipe's code defines; ``given`` is what it says is the reader's own."""
    names: dict[str, Any] = dict(given)
    for code in blocks("python", heading):
        exec(compile(installed(code), heading, "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process('[store]\nurl = "memory:"\n' + "".join(blocks("toml")) + PAYMENTS)


class Mailer:
    """Refuses as it is told, and notes what it sent."""

    class TooManyRequests(Exception):  # noqa: N818 - as the recipe calls it
        seconds = 0.01

    def __init__(self, *refusals: Exception) -> None:
        self.sent: list[Any] = []
        self.refusals = list(refusals)

    async def send(self, data: Any) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.sent.append(data)


async def work(gateway: RunningGateway, worker: Worker, done: Callable[[], Any]) -> None:
    """Have a recipe's worker work until ``done``, and its group has nothing left to do."""
    with anyio.fail_after(HANG_SECONDS):
        async with client_of(gateway) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run, client)
            await until(lambda: done() and figures(gateway, worker.group, worker.stream)["depth"] == 0)
            worker.stop()


def client_of(gateway: RunningGateway) -> Client:
    return Client(gateway.url, backoff=Backoff(first_seconds=0.01))


async def test_a_task_queue(gateway: RunningGateway) -> None:
    rendered: list[tuple[str, bool]] = []
    here = threading.get_ident()
    found = recipe("A task queue", render=lambda file: rendered.append((file, threading.get_ident() == here)))
    async with client_of(gateway) as client:
        for _ in range(2):
            await found.order(client, "logo.svg")
    await work(gateway, found.worker, lambda: rendered)
    assert rendered == [("logo.svg", False)]


async def test_retry_with_backoff(gateway: RunningGateway) -> None:
    mailer = Mailer(ConnectionError("no"), Mailer.TooManyRequests())
    publish(gateway, "mails/eu/welcome", {"to": "ada"})
    found = recipe("Retry with backoff", mailer=mailer)
    await work(gateway, found.worker, lambda: mailer.sent)
    assert (mailer.sent, found.worker.statistics().failed) == ([{"to": "ada"}], 2)


async def test_poison_messages(gateway: RunningGateway) -> None:
    mailer, alerts = Mailer(), []
    publish(gateway, "mails/eu/welcome", {"nobody": True})
    found = recipe("Poison messages", mailer=mailer, alerts=alerts)
    await work(gateway, found.worker, lambda: alerts)
    assert mailer.sent == []
    assert re.fullmatch(r"mails/eu/welcome \d+, attempt 1: nobody to send it to", alerts[0])
    (commands,) = blocks("sh", "Poison messages")
    answers = []
    for line in commands.splitlines():
        command = [sys.executable, "-m", *shlex.split(line, comments=True), "--url", gateway.url]
        answers.append((await anyio.run_process(command)).stdout.decode())
    assert "nack" in answers[0]
    assert "1" in answers[1]
    # It was sent back, and is given up once more.
    await work(gateway, found.worker, lambda: len(alerts) == 2)


async def test_an_idempotent_consumer(gateway: RunningGateway) -> None:
    keys: list[str] = []

    class Bank:
        async def charge(self, card: str, amount: int, *, idempotency_key: str) -> None:
            keys.append(idempotency_key)
            if len(keys) == 1:
                raise ConnectionError("charged, and the answer lost")

    publish(gateway, "payments/7/due", {"card": "4242", "amount": 5})
    found = recipe("An idempotent consumer", bank=Bank())
    await work(gateway, found.worker, lambda: len(keys) == 2)
    assert keys[0] == keys[1]


async def test_an_effect_exactly_once(gateway: RunningGateway, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("CREATE TABLE booked (id TEXT PRIMARY KEY)")
        database.execute("CREATE TABLE accounts (name TEXT, balance INTEGER, status TEXT, fence INTEGER)")
        database.execute("INSERT INTO accounts VALUES ('ada', 0, 'new', 0)")

    def account() -> Any:
        with closing(sqlite3.connect(ledger)) as database:
            return database.execute("SELECT balance, status, fence FROM accounts").fetchone()

    found = recipe("An effect exactly once", LEDGER=ledger)
    async with client_of(gateway) as client:
        for _ in range(2):
            await client.publish("payments/7/done", {"account": "ada", "amount": 5}, id="payment 7")
        await client.publish("payments/7/status", {"account": "ada", "status": "paid"})
    await work(gateway, found.worker, lambda: found.worker.statistics().done == 3)
    balance, status, fence = account()
    assert (balance, status, fence > 0) == (5, "paid", True)
    late = SimpleNamespace(data={"account": "ada", "status": "due"}, fence=fence - 1)
    found.set_status(late)
    assert account() == (5, "paid", fence)


async def test_order_per_customer(gateway: RunningGateway) -> None:
    begun: list[tuple[str, int]] = []
    busy: set[str] = set()

    class Warehouse:
        async def apply(self, customer: str, order: dict[str, int]) -> None:
            assert customer not in busy
            busy.add(customer)
            begun.append((customer, order["n"]))
            await anyio.sleep(0.01)
            busy.discard(customer)

    found = recipe("Order per customer", warehouse=Warehouse())
    async with client_of(gateway) as client:
        for number in range(4):
            for customer in ("ada", "bob", "cyd"):
                await found.publish(client, customer, {"n": number})
    await work(gateway, found.worker, lambda: len(begun) == 12)
    for customer in ("ada", "bob", "cyd"):
        assert [number for each, number in begun if each == customer] == [0, 1, 2, 3]


async def test_fair_tenants(gateway: RunningGateway) -> None:
    order: list[str] = []

    class Exporter:
        async def run(self, tenant: str, _: Any) -> None:
            order.append(tenant)

    for number in range(20):
        publish(gateway, "exports/big/report", number)
    publish(gateway, "exports/small/report")
    found = recipe("Fair tenants", exporter=Exporter())
    await work(gateway, found.worker, lambda: len(order) == 21)
    assert order.index("small") <= 1


async def test_a_delayed_job(gateway: RunningGateway) -> None:
    mailer = Mailer()
    found = recipe("A delayed job", mailer=mailer)
    began = time.monotonic()
    async with client_of(gateway) as client:
        await found.remind(client, "ada", 0.3)
    await work(gateway, found.worker, lambda: mailer.sent)
    assert time.monotonic() - began >= 0.3


async def test_a_worker_in_fastapi(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    mailer = Mailer()
    found = recipe("A worker in FastAPI", mailer=mailer)
    monkeypatch.setattr(found.worker, "_url", gateway.url)
    with anyio.fail_after(HANG_SECONDS):
        async with found.app.router.lifespan_context(found.app):
            publish(gateway, "mails/eu/welcome", {"to": "ada"})
            await until(lambda: mailer.sent)
    assert not found.worker.running


def test_every_recipe_is_tested() -> None:
    headings = re.findall(r"^### (.*)$", RECIPES, re.MULTILINE)
    names = [f"test_{heading.lower().replace(' ', '_')}" for heading in headings]
    assert [name for name in names if name not in globals()] == []


@pytest.mark.parametrize(
    "page",
    [
        "client.md",
        "cli.md",
        "queues.md",
        *sorted(str(path.relative_to(DOCS)) for path in (DOCS / "queues-from").glob("*.md")),
    ],
)
def test_every_link_leads_somewhere(page: str) -> None:
    path = DOCS / page
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text("utf-8")):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in slugs, f"{target}#{anchor}"
