from __future__ import annotations

from gateway.core.fanout.hub import Hub
from gateway.core.fanout.outbox import Outbox, OutboxLimits
from gateway.core.messages.commands import Overflow
from gateway.core.session.close_codes import CloseCode
from gateway.core.streams.configuration import StreamConfiguration
from gateway.core.streams.recent import TailWindow
from gateway.core.streams.stream import FollowedStream
from gateway.engine.metrics.refusals import Refusals
from gateway.engine.runtime.upkeep import Upkeep
from gateway.engine.sessions import Sessions
from tests.unit.engine.model_client import ENCODER


class Sink:
    code: int | None = None

    def write(self, frames: bytes) -> None:
        raise AssertionError("a blocked connection is not written")

    def close(self, code: int, reason: str) -> None:
        self.code = code


def stuck(*paths: FollowedStream) -> tuple[Upkeep, Sink]:
    """A connection that has taken nothing since 100."""
    hub, sink = Hub(), Sink()
    outbox = Outbox(sink, ENCODER, OutboxLimits())
    hub.attach(outbox)
    hub.subscribe(outbox, "s/#", Overflow.SPILL, paths)
    hub.block(outbox, 0, now=100.0)
    sessions = Sessions(limit=1, clock=lambda: 100.0, refusals=Refusals())
    return Upkeep(sessions, hub, write_timeout=30.0, stalled_timeout=600.0, clock=lambda: 100.0), sink


def test_who_takes_nothing_is_closed_after_write_timeout() -> None:
    upkeep, sink = stuck()
    upkeep.close_stuck(130.0)
    assert sink.code is None
    upkeep.close_stuck(130.1)
    assert sink.code == CloseCode.SLOW_CONSUMER


def test_who_waits_for_streams_alone_may_stay_until_stalled_timeout() -> None:
    path = FollowedStream(StreamConfiguration("s", "s/#"))
    path.window = TailWindow("s", "e1", 0)
    upkeep, sink = stuck(path)
    upkeep.close_stuck(699.0)
    assert sink.code is None
    upkeep.close_stuck(700.1)
    assert sink.code == CloseCode.SLOW_CONSUMER
