"""A client that believes docs/protocol.md to the letter, and says at once what breaks it."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.codecs.gateway_v1 import event_fields
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import Position
from gateway.core.topics.grammar import matches

if TYPE_CHECKING:
    from gateway.core.fanout.hub import Hub
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication

    from .model_store import ModelStore


class ModelEncoder:
    """Every frame is a JSON line with the protocol's own fields."""

    def encode(self, event: Event) -> bytes:
        return json.dumps(event_fields(event)).encode() + b"\n"

    def encode_message(self, publication: Publication) -> bytes:
        return self.encode_history(publication, None)

    def encode_snapshot(self, publication: Publication, topic_filter: str) -> bytes:
        fields = json.loads(self.encode_history(publication, topic_filter))
        return json.dumps(fields | {"snapshot": True}).encode() + b"\n"

    def encode_history(self, publication: Publication, topic_filter: str | None) -> bytes:
        fields: dict[str, Any] = {"op": "message", "topic": publication.topic, "id": publication.id}
        if publication.stream is not None:
            fields |= {"stream": publication.stream, "offset": publication.offset}
        if publication.deleted:
            fields["deleted"] = True
        if topic_filter is not None:
            fields["filter"] = topic_filter
        return json.dumps(fields).encode() + b"\n"


ENCODER = ModelEncoder()


@dataclass
class Held:
    """A subscription as its client knows it."""

    filter: str
    live: bool
    began: dict[str, Position]
    positions: dict[str, Position]
    got: set[tuple[str, str, int]] = field(default_factory=set)
    got_live: list[str] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    """Of which streams it asked for so many of each topic alone."""
    had: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    flooded: set[str] = field(default_factory=set)


class ModelClient:
    """One connection: the sink of its outbox, and what has come out of it; ``wrong`` gets what breaks it."""

    def __init__(self, store: ModelStore, hub: Hub, clock: Any, wrong: list[BaseException]) -> None:
        self.store, self.hub, self.clock, self.wrong = store, hub, clock, wrong
        self.outbox = Outbox(self, ENCODER, OutboxLimits(messages=6, bytes=2000))
        hub.attach(self.outbox)
        self.held: dict[str, Held] = {}
        self.room: int | None = None
        self.closed: int | None = None
        # Per filter, whether the next `subscribed` is that of a live one, what it resumes, and how many of
        # each topic it asked for (0: all).
        self.asked: dict[str, deque[tuple[bool, dict[str, Position], int]]] = defaultdict(deque)

    # The sink

    def write(self, frames: bytes) -> None:
        for line in frames.splitlines():
            try:
                self.receive(json.loads(line))
            except Exception as error:
                # Who writes takes it for a broken connection.
                self.wrong.append(error)
                raise
        if self.room is not None:
            self.room -= len(frames)
            if self.room <= 0:
                self.hub.block(self.outbox, 0, now=self.clock())

    def close(self, code: int, reason: str) -> None:
        self.closed = code

    # The client

    def receive(self, frame: dict[str, Any]) -> None:
        getattr(self, f"on_{frame['op']}")(frame)

    def on_subscribed(self, frame: dict[str, Any]) -> None:
        positions = {name: Position(**at) for name, at in frame["positions"].items()}
        earlier = self.held.get(frame["filter"])
        live, resumed, newest = self.asked[frame["filter"]].popleft()
        assert set(positions) == {name for name in self.store.logs if self.intersects(frame["filter"], name)}
        for name, position in positions.items():
            asked = resumed.get(name)
            if asked is not None and frame["recovered"]:
                assert position == asked
        self.held[frame["filter"]] = Held(frame["filter"], live, dict(positions), positions)
        if newest:
            self.held[frame["filter"]].newest = {name: newest for name in positions if name not in resumed}
        if earlier is not None and earlier.live and live:
            # Replaced options: what it had, it does not get again, and nothing is passed over.
            for name, position in positions.items():
                self.check_between(earlier, name, position)
                held = self.held[frame["filter"]]
                held.got, held.had, held.flooded = earlier.got, earlier.had, earlier.flooded

    def on_caught_up(self, frame: dict[str, Any]) -> None:
        held = self.held[frame["filter"]]
        assert not held.live
        held.live = True
        held.newest.clear()

    def on_gap(self, frame: dict[str, Any]) -> None:
        if frame["reason"] == "overflow":
            return
        held, name = self.held[frame["filter"]], frame["stream"]
        if frame["reason"] == "epoch":
            self.begin_epoch(held, name, Position(frame["epoch"], frame["offset"]))
            return
        position = held.positions[name]
        assert frame["from"] <= frame["to"]
        log = self.store.logs[name]
        if position.epoch == log.epoch:
            told = range(frame["from"], frame["to"] + 1)
            kept = {each.offset for each in log.kept if each is not None}
            assert kept.isdisjoint(told), "a gap tells of what is kept"
        self.check_none_kept_out(held, name, position, frame["from"])
        held.positions[name] = Position(position.epoch, max(position.offset, frame["to"]))

    def on_message(self, frame: dict[str, Any]) -> None:
        if "filter" in frame:
            held = self.held.get(frame["filter"])
            # Frames may still be on their way when a subscription ends.
            if held is None:
                return
            assert not held.live or "stream" not in frame, "history after caught_up"
            self.take(held, frame)
            return
        for held in self.held.values():
            if held.live and matches(held.filter, frame["topic"]):
                self.take(held, frame)

    def take(self, held: Held, frame: dict[str, Any]) -> None:
        assert matches(held.filter, frame["topic"])
        if "stream" not in frame:
            assert frame["id"] not in held.got_live, "repeat of a live publication"
            held.got_live.append(frame["id"])
            return
        name, offset = frame["stream"], frame["offset"]
        position = held.positions[name]
        mark = (name, position.epoch, offset)
        assert mark not in held.got, f"repeat of {mark} for {held.filter}"
        if offset <= position.offset:
            # For the connection's other subscriptions, from before this one began.
            assert offset <= held.began[name].offset, f"out of order: {mark} after {position}"
            return
        self.check_none_kept_out(held, name, position, offset)
        assert frame["id"] not in held.had[name] or name in held.flooded, f"{frame['id']} came again"
        held.got.add(mark)
        held.had[name].add(frame["id"])
        held.positions[name] = Position(position.epoch, offset)

    def begin_epoch(self, held: Held, name: str, position: Position) -> None:
        """What it is told to have passed it had; it gets nothing again unless the node could not know."""
        log, before = self.store.logs[name], held.positions[name]
        if before.epoch == position.epoch:
            # The answer to its own `resume` begins with it.
            assert before == position
            return
        shared = log.shared(before.epoch, position.epoch)
        assert position.offset <= max(shared, log.first - 1), "passed what it never had"
        passed = range(max(before.offset + 1, log.first), min(position.offset, shared) + 1)
        kept = (log.ever[position.epoch].get(each) for each in passed)
        count = held.newest.get(name)
        assert not [
            each
            for each in kept
            if each
            and matches(held.filter, each.topic)
            and not log.had_after(each.offset or 0, each.topic, count)
        ], "passed over"
        if position.offset < min(before.offset, shared):
            held.flooded.add(name)
        held.positions[name] = position

    def check_none_kept_out(self, held: Held, name: str, position: Position, offset: int) -> None:
        """Nothing between ``position`` and ``offset`` was for it."""
        log = self.store.logs[name]
        missed = [
            each
            for each in range(position.offset + 1, offset)
            if (publication := log.ever.get(position.epoch, {}).get(each)) is not None
            and matches(held.filter, publication.topic)
            and not log.had_after(each, publication.topic, held.newest.get(name))
        ]
        assert not missed, f"untold gap of {name} {missed} in {held.filter}"

    def check_between(self, earlier: Held, name: str, position: Position) -> None:
        had = earlier.positions[name]
        if had.epoch == position.epoch and had.offset < position.offset:
            self.check_none_kept_out(earlier, name, had, position.offset + 1)

    def check_complete(self) -> None:
        """Everything that is kept has come."""
        for held in self.held.values():
            assert held.live, f"{held.filter} never caught up"
            for name, position in held.positions.items():
                log = self.store.logs[name]
                assert position.epoch == log.epoch, f"{held.filter} was never told of {log.epoch}"
                self.check_none_kept_out(held, name, position, log.last + 1)

    def intersects(self, topic_filter: str, name: str) -> bool:
        return topic_filter.split("/", maxsplit=1)[0] in ("#", "+", name) and topic_filter != "+"
