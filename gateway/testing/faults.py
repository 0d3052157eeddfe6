"""A bus and a store in memory that can be taken away, and tell what was published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope

from gateway.bus.local import LocalBus
from gateway.errors import BusUnavailable, StreamUnavailable

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from gateway.bus.base import Lost
    from gateway.core.messages.publication import Publication
    from gateway.streams.base import Appended, Dedupe, Store
    from gateway.streams.statistics import StoreStatistics

_OF_A_STORE: Final = frozenset({
    "at", "before", "before_newest", "bounds", "count", "describe", "last_value", "measure",
    "newest_by_topic", "raise_epoch", "select", "snapshot", "topics",
})  # fmt: skip
_OF_GROUPS: Final = frozenset({
    "acknowledge", "browse", "dead_letters", "delete", "discard", "explain", "extend", "figures", "give_back",
    "groups", "held", "lose", "put", "redrive", "reject", "release", "take",
})  # fmt: skip
"""What asks a store for an answer, which one that is away doesn't give."""


class CuttableBus(LocalBus):
    """The bus of one node, as Redis' would be where it can be cut off."""

    def __init__(self, note: Callable[[Publication], None]) -> None:
        """Tell ``note`` of every publication."""
        super().__init__()
        self._note = note
        self._whole: tuple[Callable[[Publication], None], Lost] | None = None
        self._cut = False

    async def start(self, deliver: Callable[[Publication], None], lost: Lost) -> None:
        """Deliver from now on."""
        self._whole = deliver, lost
        self.publish = self._publish

    def subscribe(self, topic_filter: str) -> None:  # noqa: ARG002 - every one is the same here
        """Refuse it while the bus is cut."""
        if self._cut:
            raise BusUnavailable("the bus is cut by the test")

    def hears(self, topic_filter: str) -> bool:  # noqa: ARG002 - as above
        """Unless the bus is cut."""
        return not self._cut

    def cut(self) -> None:
        """Carry nothing any more."""
        self._cut = True

    def mend(self) -> None:
        """Carry again; subscribers are told that something may be missing."""
        self._cut = False
        if self._whole is not None:
            self._whole[1](lambda _: True, None)

    def _publish(self, publication: Publication) -> None:
        if self._cut or self._whole is None:
            raise BusUnavailable("the bus is cut by the test")
        self._note(publication)
        self._whole[0](publication)


class AbsentableStore:
    """A store that can be away, as one beyond a network; all else is the store's that it stands before.

    Attributes:
        groups: those of that store, away with it.
        away: it gives no answer.
    """

    def __init__(self, store: Store, note: Callable[[Publication], None]) -> None:
        """Stand before ``store``, and tell ``note`` of what it keeps."""
        self._store = store
        self._note = note
        self._reading: set[CancelScope] = set()
        self.away = False
        self.groups = _AbsentableGroups(self, getattr(store, "groups", None))

    def leave(self) -> None:
        """Give no answer any more, also to who waits for one."""
        self.away = True
        for scope in self._reading:
            scope.cancel()

    def come_back(self) -> None:
        """Answer again."""
        self.away = False

    def append(
        self, stream: str, publication: Publication, dedupe: Dedupe | None = None
    ) -> asyncio.Future[Appended]:
        """Keep ``publication``."""
        self.check()
        answer = self._store.append(stream, publication, dedupe)
        if answer.exception() is None and not answer.result().repeated:
            self._note(publication)
        return answer

    async def read(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the store has it
        """Read on; who waits when the store leaves is told at once."""
        self.check()
        with CancelScope() as scope:
            self._reading.add(scope)
            try:
                return await self._store.read(*arguments, **options)
            finally:
                self._reading.discard(scope)
        raise _is_away()

    def purge(self, *arguments: Any, **options: Any) -> AsyncGenerator[int, None]:  # noqa: ANN401 - as above
        """Remove in steps."""
        self.check()
        return self._store.purge(*arguments, **options)

    def wake(self) -> None:
        """Have all that wait for something to work off look: something may be due, as the time has moved."""
        self.groups.wake()

    def statistics(self) -> StoreStatistics:
        """Those of the store."""
        found = self._store.statistics()
        return replace(found, connected=found.connected and not self.away)

    def check(self) -> None:
        """Raise ``StreamUnavailable`` while it is away."""
        if self.away:
            raise _is_away()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        found = getattr(self._store, name)
        return guarded(self, found) if name in _OF_A_STORE else found


class _AbsentableGroups:
    def __init__(self, store: AbsentableStore, groups: Any) -> None:  # noqa: ANN401 - as the store has them
        self._store = store
        self._groups = groups
        self._watching: dict[object, Callable[[], None]] = {}

    def watch(self, stream: str, group: str, wake: Callable[[], None]) -> Callable[[], None]:
        unwatch = self._groups.watch(stream, group, wake)
        watching = object()
        self._watching[watching] = wake

        def end() -> None:
            self._watching.pop(watching, None)
            unwatch()

        return end

    def wake(self) -> None:
        for wake in list(self._watching.values()):
            wake()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        found = getattr(self._groups, name)
        return guarded(self._store, found) if name in _OF_GROUPS else found


def guarded(
    store: AbsentableStore, function: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """``function`` of a store, which gives no answer while that is away."""

    async def ask(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as the function has it
        store.check()
        return await function(*arguments, **options)

    return ask


def _is_away() -> StreamUnavailable:
    return StreamUnavailable("the store is taken away by the test")
