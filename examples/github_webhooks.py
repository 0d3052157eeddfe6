"""Send GitHub's own example webhooks through a gateway, and check what every subscriber gets.

The gateway needs a hook of this name and template, and the secret that is used here:

    [[hooks]]
    name = "github"
    scheme = "github"
    secret = "env:GITHUB_WEBHOOK_SECRET"
    topic = "github/{body.repository.full_name}/{header.x-github-event}"

With it running, and the payloads installed (`npm ci` in `tests/`):

    export GITHUB_WEBHOOK_SECRET=…
    python examples/github_webhooks.py --subscribers 100
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from gateway.client import Client, Gap, Message

if TYPE_CHECKING:
    from anyio.abc import TaskStatus

PAYLOADS = Path(__file__).parents[1] / "tests/node_modules/@octokit/webhooks-examples"
TOGETHER = 32
"""So many deliveries are sent before all subscribers must have theirs: no outbox gets near its bound."""


@dataclass(frozen=True)
class Payload:
    """One example delivery."""

    event: str
    value: dict[str, Any]

    @property
    def body(self) -> bytes:
        """What is sent: JSON as GitHub writes it, in UTF-8."""
        return json.dumps(self.value, separators=(",", ":"), ensure_ascii=False).encode()

    @property
    def topic(self) -> str:
        """Where it must arrive; the full name of a repository gives two levels."""
        repository = self.value.get("repository") or {}
        return f"github/{repository.get('full_name') or '-'}/{self.event}"


@dataclass
class Tally:
    """What all subscribers together have, and what they wait for."""

    received: int = 0
    due: int = 0
    reached: anyio.Event = field(default_factory=anyio.Event)

    def add(self) -> None:
        """Count one message."""
        self.received += 1
        if self.received >= self.due:
            self.reached.set()

    async def wait(self, seconds: float) -> None:
        """Return when everything due has arrived."""
        self.reached = anyio.Event()
        if self.received < self.due:
            with anyio.move_on_after(seconds):
                await self.reached.wait()


@dataclass
class Subscriber:
    """One connection with one topic filter, and what it got, in order."""

    filter: str
    got: list[tuple[str, str]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """How it went: ``wrong`` are the filters of the subscribers whose list was not as it must be."""

    payloads: int
    subscribers: int
    deliveries: int
    wrong: list[str]
    altered: int
    seconds: float

    def __str__(self) -> str:
        verdict = "all as they must be" if not self.wrong else f"{len(self.wrong)} wrong: {self.wrong[:5]}"
        return (
            f"{self.payloads} payloads, {self.subscribers} subscribers, {self.deliveries} deliveries "
            f"in {self.seconds:.1f} s: {verdict}; {self.altered} bodies altered"
        )


def load_payloads(directory: Path) -> list[Payload]:
    """Read every example of every GitHub version in the npm package ``@octokit/webhooks-examples``."""
    return [
        Payload(event["name"], example)
        for index in sorted(directory.glob("*/index.json"))
        for event in json.loads(index.read_text("utf-8"))
        for example in event["examples"]
    ]


def filters_for(payloads: list[Payload], count: int) -> list[str]:
    """Return ``count`` filters: six in ten exact, the others with ``+``, with ``#``, or matching nothing."""
    topics = sorted({payload.topic for payload in payloads})
    shapes = [
        "github/+/#",
        "#",
        "github/#",
        "+/+/-",
        "github/-/+",
        "nobody/+",
        "github/+/Hello-World/{event}",
    ]
    filters = []
    for number in range(count):
        topic = topics[number // 10 * 6 % len(topics) + number % 10 - len(topics)]
        levels = topic.split("/")
        by_kind = {
            6: "/".join("+" if 0 < place < len(levels) - 1 else level for place, level in enumerate(levels)),
            7: "/".join([*levels[:-1], "#"]),
            8: "/".join([*("+" for _ in levels[:-1]), levels[-1]]),
            9: shapes[number // 10 % len(shapes)].replace("{event}", levels[-1]),
        }
        filters.append(by_kind.get(number % 10, topic))
    return filters


def matches(topic_filter: str, topic: str) -> bool:
    """Say what MQTT 5.0, 4.7 says, level by level, without any index or cache."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        return matches_exactly(wanted[:-1], given[: len(wanted) - 1]) and len(given) >= len(wanted) - 1
    return matches_exactly(wanted, given)


def matches_exactly(wanted: list[str], given: list[str]) -> bool:
    """Compare lists of levels of one length."""
    return len(wanted) == len(given) and all(
        level in ("+", found) for level, found in zip(wanted, given, strict=True)
    )


async def deliver(http: httpx2.AsyncClient, url: str, payload: Payload, secret: str) -> str:
    """POST one payload as GitHub does and return the id that the gateway gave it."""
    signature = hmac.new(secret.encode(), payload.body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/example",
        "x-github-event": payload.event,
        "x-github-delivery": str(uuid.uuid4()),
        "x-hub-signature-256": f"sha256={signature}",
    }
    response = await http.post(f"{url}/v1/hooks/github", content=payload.body, headers=headers)
    response.raise_for_status()
    return str(response.json()["id"])


async def run(url: str, secret: str, payloads: list[Payload], filters: list[str]) -> Report:
    """Subscribe with all filters, send all payloads, and compare what arrived with what must."""
    subscribers = [Subscriber(topic_filter) for topic_filter in filters]
    tally = Tally()
    sent: list[tuple[str, str]] = []
    bodies: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for subscriber in subscribers:
            await tasks.start(listen, url, subscriber, tally, bodies)
        started = time.perf_counter()
        async with httpx2.AsyncClient(timeout=30) as http:
            for number, payload in enumerate(payloads, start=1):
                tally.due += sum(matches(topic_filter, payload.topic) for topic_filter in filters)
                sent.append((payload.topic, await deliver(http, url, payload, secret)))
                if number % TOGETHER == 0 or number == len(payloads):
                    await tally.wait(seconds=30)
        seconds = time.perf_counter() - started
        tasks.cancel_scope.cancel()
    wrong = [
        subscriber.filter
        for subscriber in subscribers
        if subscriber.gaps or subscriber.got != [one for one in sent if matches(subscriber.filter, one[0])]
    ]
    given = {name: payload.value for (_, name), payload in zip(sent, payloads, strict=True)}
    altered = sum(body != given.get(name) for name, body in bodies.items())
    return Report(len(sent), len(subscribers), tally.received, wrong, altered, seconds)


async def listen(
    url: str, subscriber: Subscriber, tally: Tally, bodies: dict[str, Any], *, task_status: TaskStatus[None]
) -> None:
    """Keep one connection and note what comes; of each message one body is kept for comparison."""
    async with Client(url) as client, client.subscribe(subscriber.filter, gaps=True) as subscription:
        task_status.started()
        async for item in subscription:
            if isinstance(item, Message):
                subscriber.got.append((item.topic, item.id))
                bodies.setdefault(item.id, item.data)
                tally.add()
            else:
                subscriber.gaps.append(item)


def main() -> int:
    """Run it and say how it went; 0 if every list was right."""
    parser = argparse.ArgumentParser(description="Send GitHub's example webhooks through a gateway.")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--payloads", type=Path, default=PAYLOADS, help="where the npm package is")
    parser.add_argument("--subscribers", type=int, default=100)
    arguments = parser.parse_args()
    secret = os.environ.get("GITHUB_WEBHOOK_SECRET")
    payloads = load_payloads(arguments.payloads)
    if not secret or not payloads:
        print("GITHUB_WEBHOOK_SECRET and the payloads are needed: see the top of this file", file=sys.stderr)
        return 2
    filters = filters_for(payloads, arguments.subscribers)
    report = anyio.run(run, arguments.url, secret, payloads, filters)
    print(report)
    return 1 if report.wrong or report.altered else 0


if __name__ == "__main__":
    sys.exit(main())
