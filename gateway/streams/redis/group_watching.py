"""What wakes the members of groups that wait on this node, whoever brought something for them.

Appends are heard of on the channel of the stream, all else that may give a group something on one of its own.
Neither is relied on: what is watched is looked at now and then, since a member may vanish with its node, and
an announcement may be lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.streams.redis.append_signal import AppendSignal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.streams.redis.log import RedisLog

LOOK_SECONDS = 1.0
"""How often a group that is watched is looked at by itself."""


class GroupSignals:
    """One watched group on this node."""

    def __init__(self, log: RedisLog, group: str) -> None:
        self._log = log
        self._channel = log.keys.group_channel(group)
        self._signal = AppendSignal()
        self._wakes: dict[object, Callable[[], None]] = {}

    @property
    def watched(self) -> bool:
        """Somebody wants to be woken."""
        return bool(self._wakes)

    def add(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` too; return what ends that."""
        if not self._wakes:
            self._log.signal.listen(self.wake)
            self._signal.listen(self.wake)
        name = object()
        self._wakes[name] = wake
        self._listen()

        def end() -> None:
            if self._wakes.pop(name, None) is not None and not self._wakes:
                self._log.signal.leave(self.wake)
                self._signal.leave(self.wake)

        return end

    def wake(self) -> None:
        """Call all of them."""
        # Asked anew each time: the stream may be another server's by now.
        self._listen()
        for each in list(self._wakes.values()):
            each()

    @property
    def heard(self) -> bool:
        """What happens to it is heard of at once."""
        return self._listen()

    def _listen(self) -> bool:
        listening = self._log.listening
        announced = listening is not None and listening.announces(self._channel, self._signal)
        return self._log.announced() and announced


class GroupWatching:
    """All groups that are watched on this node."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], GroupSignals] = {}

    def watch(self, log: RedisLog, group: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when there may be something to take; return what ends that."""
        name = log.name, group
        signals = self._groups.get(name)
        if signals is None:
            signals = self._groups[name] = GroupSignals(log, group)
        return signals.add(wake)

    def heard(self, stream: str, group: str) -> bool:
        """Whether what happens to a group is heard of at once."""
        signals = self._groups.get((stream, group))
        return signals is not None and signals.heard

    async def keep_looking(self) -> None:
        """Wake everybody now and then, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name, each in list(self._groups.items()):
                if each.watched:
                    each.wake()
                else:
                    del self._groups[name]
