from __future__ import annotations

import gc
import weakref

from gateway.engine.runtime.garbage import GarbageCollection


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def abandoned_cycle() -> weakref.ref[Cycle]:
    return weakref.ref(Cycle())


def test_new_cycles_are_found_at_a_turn_and_old_ones_at_a_full_walk() -> None:
    before = gc.get_threshold()
    collection = GarbageCollection(now=0.0)
    collection.begin()
    try:
        young = abandoned_cycle()
        assert young() is not None
        collection.turn(1.0)
        assert young() is None

        old = Cycle()
        collection.turn(2.0)
        watched = weakref.ref(old)
        del old
        collection.turn(3.0)
        assert watched() is not None
        collection.turn(601.0)
        assert watched() is None
    finally:
        collection.end()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
