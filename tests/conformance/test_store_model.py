"""Every store against a list, whatever the order in which it is used."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.codecs.record import encode_record
from gateway.core.messages.commands import Position
from gateway.core.messages.publication import Publication
from gateway.core.streams.configuration import StreamConfiguration
from gateway.errors import Conflict
from gateway.streams.base import Appended, Dedupe
from tests.conformance.store_contenders import CONTENDERS, Contender, until
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.streams.pages import Page
    from gateway.streams.base import Store

CONFIGURATIONS = {
    "plain": StreamConfiguration("plain", "plain/#"),
    "few": StreamConfiguration("few", "few/#", max_messages=5),
    "small": StreamConfiguration("small", "small/#", max_bytes=400),
    # Redis has a clock of its own, on which no example takes so long.
    "young": StreamConfiguration("young", "young/#", max_age=1000, max_messages=20, dedupe_window=500),
}
STREAMS = st.sampled_from(sorted(CONFIGURATIONS))


@dataclass
class Kept:
    offset: int
    id: str
    body: bytes
    time: int
    size: int


@dataclass
class Model:
    """One stream, plainly."""

    configuration: StreamConfiguration
    epoch: str = ""
    last: int = 0
    time: int = 0
    kept: list[Kept] = field(default_factory=list)
    keys: dict[str, tuple[bytes, Appended, int]] = field(default_factory=dict)

    @property
    def first(self) -> int:
        return self.kept[0].offset if self.kept else self.last + 1

    @property
    def bytes(self) -> int:
        return sum(each.size for each in self.kept)

    def append(self, publication: Publication, dedupe: Dedupe | None) -> Appended | type[Conflict]:
        if dedupe is not None and (known := self.keys.get(dedupe.key)):
            fingerprint, answer, time = known
            if self.time - time < self.configuration.dedupe_window * 1000:
                return (
                    Appended(answer.id, answer.offset, True)
                    if fingerprint == dedupe.fingerprint
                    else Conflict
                )
        self.last += 1
        assert publication.data is not None
        size = len(encode_record(publication))
        self.kept.append(Kept(self.last, publication.id, publication.data, self.time, size))
        answer = Appended(publication.id, self.last)
        if dedupe is not None:
            self.keys[dedupe.key] = (dedupe.fingerprint, answer, self.time)
        self.trim()
        return answer

    def trim(self) -> None:
        limits = self.configuration
        while len(self.kept) > 1 and (len(self.kept) > limits.max_messages or self.bytes > limits.max_bytes):
            del self.kept[0]
        while self.kept and self.time - self.kept[0].time > limits.max_age * 1000:
            del self.kept[0]


class StoreMachine(RuleBasedStateMachine):
    """Time is the model's where the contender's stands still, and isn't looked at elsewhere."""

    def __init__(self, contender: Contender) -> None:
        super().__init__()
        self.contender = contender
        self.runner = asyncio.Runner()
        self.models = {name: Model(each) for name, each in CONFIGURATIONS.items()}
        self.passed = 0
        self.number = 0
        self.store: Store = contender.make(CONFIGURATIONS.values())

    def run(self, awaited: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(2 * HANG_SECONDS):
                return await awaited

        return self.runner.run(bounded())

    @initialize()
    def start(self) -> None:
        self.run(self.store.start())
        for name, model in self.models.items():
            model.epoch = self.run(self.store.bounds(name)).epoch

    def teardown(self) -> None:
        try:
            self.run(self.store.stop())
        finally:
            self.runner.close()

    @rule(
        items=st.lists(
            st.tuples(
                STREAMS, st.integers(0, 150), st.none() | st.sampled_from("ab"), st.sampled_from([b"1", b"2"])
            ),
            min_size=1,
            max_size=12,
        )
    )
    def append(self, items: list[tuple[str, int, str | None, bytes]]) -> None:
        """Many publishers at once."""
        expected, appends = [], []
        for stream, length, key, fingerprint in items:
            self.number += 1
            publication = Publication(f"{stream}/t", f"m{self.number}", 0, b'"%b"' % (b"x" * length))
            dedupe = Dedupe(key, fingerprint) if key else None
            self.models[stream].time = self.passed
            expected.append(self.models[stream].append(publication, dedupe))
            appends.append((stream, publication, dedupe))

        async def together() -> list[Any]:
            return await asyncio.gather(
                *(self.store.append(*each) for each in appends), return_exceptions=True
            )

        answers = [Conflict if isinstance(each, Conflict) else each for each in self.run(together())]
        assert answers == expected

    @rule(stream=STREAMS, after=st.integers(0, 60), messages=st.integers(1, 40), size=st.integers(1, 2000))
    def read(self, stream: str, after: int, messages: int, size: int) -> None:
        model = self.models[stream]
        page = self.run(self.store.read(stream, after, messages=messages, size=size))
        behind = [each for each in model.kept if each.offset > after]
        self.compare(page, behind[: len(page.publications)])
        found = behind[: len(page.publications)]
        assert len(found) <= messages
        assert sum(each.size for each in found[:-1]) <= size
        if behind:
            more = behind[: len(found) + 1]
            assert found
            assert len(found) in (messages, len(behind)) or sum(each.size for each in more) >= size

    @rule(stream=STREAMS, step=st.integers(1, 7))
    def read_everything(self, stream: str, step: int) -> None:
        async def pages() -> list[Publication]:
            found: list[Publication] = []
            after = 0
            while (page := await self.store.read(stream, after, messages=step)).publications:
                found += page.publications
                after = found[-1].offset or 0
            return found

        kept = self.models[stream].kept
        assert [each.offset for each in self.run(pages())] == [each.offset for each in kept]

    @rule(stream=STREAMS, readers=st.integers(1, 3))
    def wait(self, stream: str, readers: int) -> None:
        """Readers at the end get what comes next."""
        model = self.models[stream]
        self.number += 1
        publication = Publication(f"{stream}/t", f"m{self.number}", 0, b'"waited for"')

        async def waiting() -> list[Page]:
            tasks = [
                asyncio.create_task(self.store.read(stream, last, messages=5, wait=HANG_SECONDS))
                for _ in range(readers)
            ]
            await asyncio.sleep(0)
            await self.store.append(stream, publication)
            return await asyncio.gather(*tasks)

        last = model.last
        model.time = self.passed
        model.append(publication, None)
        for page in self.run(waiting()):
            self.compare(page, [each for each in model.kept if each.offset > last])

    @rule(stream=STREAMS, ahead=st.integers(-2, 3), other=st.booleans())
    def raise_epoch(self, stream: str, ahead: int, other: bool) -> None:
        model = self.models[stream]
        seen = Position("another" if other else model.epoch, model.last + ahead)
        bounds = self.run(self.store.raise_epoch(stream, seen))
        assert (bounds.epoch != model.epoch) == (ahead > 0 and not other)
        model.epoch = bounds.epoch

    @precondition(lambda self: self.contender.began is not None)
    @rule(seconds=st.sampled_from([0.001, 300, 500, 1000, 1000.001]))
    def pass_time(self, seconds: float) -> None:
        """Without anybody appending, what is too old goes."""
        self.run(self.contender.pass_time(seconds))
        self.passed += round(seconds * 1000)
        model = self.models["young"]
        model.time = self.passed
        model.trim()

        async def trimmed() -> bool:
            return (await self.store.bounds("young")).first == model.first

        self.run(until(trimmed))

    @precondition(lambda self: self.contender.began is not None)
    @rule(stream=STREAMS, ago=st.integers(0, 1_200_000))
    def before(self, stream: str, ago: int) -> None:
        model = self.models[stream]
        time = self.passed - ago
        expected = next((each.offset - 1 for each in model.kept if each.time >= time), model.last)
        assert self.run(self.store.before(stream, self.contender.began + time)) == expected

    @precondition(lambda self: self.contender.durable)
    @rule()
    def open_again(self) -> None:
        self.run(self.store.stop())
        self.store = self.contender.make(CONFIGURATIONS.values())
        self.run(self.store.start())

    @invariant()
    def bounds_are_the_models(self) -> None:
        for name, model in self.models.items():
            told = self.run(self.store.describe(name))
            if model.epoch:
                assert (told.bounds.epoch, told.bounds.first, told.bounds.last) == (
                    model.epoch,
                    model.first,
                    model.last,
                )
                assert told.bytes == model.bytes

    def compare(self, page: Page, expected: list[Kept]) -> None:
        assert [(each.offset, each.id, each.data) for each in page.publications] == [
            (each.offset, each.id, each.body) for each in expected
        ]
        times = [each.time for each in page.publications]
        assert times == sorted(times)
        if (began := self.contender.began) is not None:
            assert times == [began + each.time for each in expected]


@pytest.fixture(params=CONTENDERS)
def make_contender(request: pytest.FixtureRequest) -> Callable[[], Contender]:
    return lambda: CONTENDERS[request.param](request)


def test_a_store_does_what_a_list_does(make_contender: Callable[[], Contender]) -> None:
    run_state_machine_as_test(
        lambda: StoreMachine(make_contender()),
        settings=settings(max_examples=25, stateful_step_count=25, deadline=None),
    )
