"""From a publication and its targets to bytes that each connection is to be written.

The costs decide the shape. Consecutive publications with the same targets form a run; when it ends its frames
are joined once and the shared bytes appended once to every target. Bounds are accounted per tick for all
connections together, which is an upper bound for each of them; only connections that are not writable are
looked at one by one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.core.fanout.batch import Batch

if TYPE_CHECKING:
    from gateway.core.fanout.blocked import Blocked
    from gateway.core.fanout.limits import HubLimits
    from gateway.core.fanout.outbox import Outbox
    from gateway.core.fanout.subscription import Subscription
    from gateway.core.fanout.targets import Targets
    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.events import Event
    from gateway.core.messages.publication import Publication


class FanOut:
    """The run that is open, what this tick has brought, and who is to be written.

    Attributes:
        delivered: publications times the connections that were given them, even if lost later.
        delivered_bytes: of their frames.
    """

    def __init__(self, limits: HubLimits, blocked: Blocked) -> None:
        """Begin with an empty tick; what can't be written is offered to ``blocked``."""
        self._most_bytes, self._most_messages = limits.tick_bytes, limits.tick_messages
        self._blocked = blocked
        self._run: list[Publication] = []
        self._run_targets: Targets | None = None
        self._run_bytes = 0
        self._tick_bytes = 0
        self._tick_messages = 0
        self._taken_bytes = self._taken_messages = 0  # the tick's, before the last `take`
        self._writes = WriteQueue()
        self.delivered = self.delivered_bytes = 0

    @property
    def unwritten(self) -> int:
        """How many connections have pending bytes, an open run's targets not counted."""
        return len(self._writes)

    def deliver(self, publication: Publication, targets: Targets) -> bool:
        """Give ``publication`` to all of ``targets``, with what follows for the same ones.

        Returns:
            True when this tick has grown to its bound.
        """
        # By identity: whoever changes a subscription ends the run first and has its lists made anew, so the
        # same object means the same connections, and the comparison costs nothing.
        if targets is not self._run_targets:
            self.flush_run()
            self._run_targets = targets
        self._run.append(publication)
        # Frames are made when the run ends; until then their size is the body's and about its envelope.
        self._run_bytes += publication.body_bytes() + 128
        return (
            self._tick_bytes + self._run_bytes >= self._most_bytes
            or self._tick_messages + len(self._run) >= self._most_messages
        )

    def deliver_one(self, outbox: Outbox, publication: Publication) -> bool:
        """As ``deliver``, to one direct connection alone."""
        # Without fan-out there is nothing to share: a run of one would cost more than it joins.
        if self._run_targets is not None:
            self.flush_run()
        frame = publication.frame(outbox.encoder)
        if outbox.pending is None:
            outbox.pending = frame
            self._writes.fresh.append(outbox)
        else:
            outbox.append(frame)
        size = len(frame)
        self.delivered += 1
        self.delivered_bytes += size
        self._tick_bytes += size
        self._tick_messages += 1
        return self._tick_bytes >= self._most_bytes or self._tick_messages >= self._most_messages

    def flush_run(self) -> None:
        """End the current run: append its joined frames to every target."""
        targets, run = self._run_targets, self._run
        if targets is None:
            return
        self._run_targets = None
        # A new list and not an emptied one: a batch keeps the old for as long as parts of it wait somewhere.
        self._run = []
        self._run_bytes = 0
        self._tick_messages += len(run)
        for encoder, outboxes in targets.groups:
            if len(run) == 1:
                joined = run[0].frame(encoder)
            else:
                joined = b"".join([publication.frame(encoder) for publication in run])
            # Once, however many get it: as if for a connection that gets all of the tick, which bounds each.
            self._tick_bytes += len(joined)
            self.delivered_bytes += len(joined) * len(outboxes)
            blocked = self._append(outboxes, joined)
            if blocked:
                # A batch knows the size of each frame, which only those that keep or drop some of them need.
                self._blocked.offer(blocked, Batch(run, encoder, targets.stream), targets)
        if targets.history_targets:
            self._deliver_history(targets.history_targets, run)
        self.delivered += len(run) * targets.count

    def reply(self, outbox: Outbox, event: Event) -> None:
        """Send one event to one connection."""
        if outbox.reply(event):
            self._writes.fresh.append(outbox)

    def take(self, limit: int) -> list[Outbox]:
        """Remove and return the connections that are to be written next, at most ``limit``.

        Once none is left a new tick begins.
        """
        self.flush_run()
        taken = self._writes.take(limit)
        # `put_back` needs them: the tick may end here though what was taken isn't written yet.
        self._taken_bytes, self._taken_messages = self._tick_bytes, self._tick_messages
        if not self._writes:
            self._tick_bytes = self._tick_messages = 0
        return taken

    def put_back(self, outboxes: list[Outbox]) -> None:
        """Give back what ``take`` has just returned and was not written: the tick goes on."""
        if outboxes:
            self._writes.put_back(outboxes)
            self._tick_bytes, self._tick_messages = self._taken_bytes, self._taken_messages

    def _append(self, outboxes: tuple[Outbox, ...], joined: bytes) -> list[Outbox]:
        """Give ``joined`` to all that are direct, and return the others."""
        blocked: list[Outbox] = []
        # The loop that a fan-out consists of: each connection costs what one more call in it costs.
        touch = self._writes.fresh.append
        for outbox in outboxes:
            if outbox.direct:
                if outbox.pending is None:
                    outbox.pending = joined
                    touch(outbox)
                else:
                    outbox.append(joined)
            else:
                blocked.append(outbox)
        return blocked

    def _deliver_history(
        self, history_targets: tuple[tuple[Outbox, Subscription], ...], run: list[Publication]
    ) -> None:
        batches: dict[tuple[Encoder, str], Batch] = {}
        # Those that read with the same filter share their frames too, since these bear the filter.
        for outbox, subscription in history_targets:
            key = (outbox.encoder, subscription.filter)
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = Batch(run, outbox.encoder, topic_filter=subscription.filter)
            for each in self._append((outbox,), batch.joined):
                if not outbox.closed:
                    self._blocked.offer_one(each, batch, subscription)


class WriteQueue:
    """Connections to be written next, each at most once, in slices that keep the event loop responsive.

    One fan-out to very many connections must not delay the others: each slice takes half from those that were
    touched earlier and half from those touched since, so a small conversation overtakes a large fan-out.
    Only writes are ordered here; the order of each connection's frames is fixed when they are appended.

    Attributes:
        fresh: those touched since the last slice; the fan-out appends to it directly, once per connection.
    """

    __slots__ = ("_earlier", "_waiting", "fresh")

    def __init__(self) -> None:
        self.fresh: list[Outbox] = []
        # Each from its end: so a fan-out to very many is never walked but for the part that is taken.
        self._earlier: deque[list[Outbox]] = deque()
        self._waiting = 0  # in all of these together

    def __len__(self) -> int:
        return len(self.fresh) + self._waiting

    def take(self, limit: int) -> list[Outbox]:
        """Remove and return at most ``limit`` connections, shared between the earlier and the fresh."""
        earlier, fresh = self._earlier, self.fresh
        self.fresh = []
        if not earlier and len(fresh) <= limit:
            return fresh
        fresh.reverse()
        taken = _pop(fresh, max(limit - self._waiting, limit // 2))
        self._waiting += len(fresh) + len(taken)
        if fresh:
            earlier.append(fresh)
        while earlier and len(taken) < limit:
            taken += _pop(earlier[0], limit - len(taken))
            if not earlier[0]:
                earlier.popleft()
        self._waiting -= len(taken)
        return taken

    def put_back(self, outboxes: list[Outbox]) -> None:
        """Have ``outboxes``, taken and not written, be the first of the earlier ones."""
        self._earlier.appendleft(outboxes[::-1])
        self._waiting += len(outboxes)


def _pop(outboxes: list[Outbox], count: int) -> list[Outbox]:
    """Remove at most ``count`` from the end; the last comes first."""
    taken = outboxes[: -count - 1 : -1]
    del outboxes[len(outboxes) - len(taken) :]
    return taken
