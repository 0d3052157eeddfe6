"""Takes up what has changed in the settings and can change without dropping a client."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.engine.group_administration import ConfiguredGroups
from gateway.errors import BadCommand, StreamUnavailable, Unavailable
from gateway.http_api.settings import NodeSettings
from gateway.settings.changes import GROUPS, MASK, changes, take_up
from gateway.settings.listing import listed
from gateway.settings.problems import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings import Settings
    from gateway.streams.base import Store
    from gateway.transports.server.tls import Certificate

_log: Final = logging.getLogger("gateway")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What differs from what was in force, by the settings' names.

    Attributes:
        taken: counts from now on.
        restart: needs a restart.
    """

    taken: list[str]
    restart: list[str]


class Reloading:
    """Reads the settings again.

    Attributes:
        settings: what is in force, as far as it can change.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store | None,
        certificate: Certificate | None,
        build: Callable[[Settings], object],
    ) -> None:
        """Begin with ``settings``.

        Args:
            settings: with which the node began.
            store: groups are made in it.
            certificate: its files are looked at.
            build: makes what others would make of settings, and raises ``ValueError`` where it can't.
        """
        self._build = build
        self.settings = settings.as_read
        self._store = store
        self._certificate = certificate

    async def reload(self) -> Reloaded:
        """Take up what can be.

        Raises:
            BadCommand: a setting breaks a rule; nothing was taken up.
            Unavailable: the store can't be reached, or the settings were not read from anywhere.
        """
        if self._certificate is not None:
            self._certificate.look_now()
        try:
            again = self.settings.read_again()
            if again is None:
                raise Unavailable("this gateway's settings come from code, which can't be read again")
            # A template, a key, a name of a scheme: the part that uses it knows whether it is right.
            self._build(again)
        except (InvalidSettings, ValueError) as error:
            raise BadCommand(f"the settings are wrong: {error}") from error
        changed = changes(self.settings, again)
        restart = [name for name in changed if name not in {MASK, GROUPS}]
        made = False
        if GROUPS in changed:
            # With other streams than there are, groups of theirs can't be made.
            made = "streams" not in changed and await self._make_groups(again)
            if not made:
                restart.append(GROUPS)
        # What needs a restart stays different, and is told again.
        self.settings = take_up(self.settings, again, groups=made)
        taken = [name for name in changed if name not in restart]
        return Reloaded(taken, sorted(restart))

    def shown(self, node: str, settings: Settings) -> NodeSettings:
        """What routes tell of ``settings``, with which ``node`` began, and do with them."""
        return NodeSettings(
            node,
            listed=lambda: listed(
                settings.model_copy(
                    update={"console": self.settings.console, "streams": self.settings.streams}
                ),
                self.settings.sources,
            ),
            reload=self.reload,
            mask=lambda: self.settings.console.mask,
            authentication=settings.auth.mode,
        )

    async def on_signal(self) -> None:
        """Do the same for SIGHUP: nobody is there to be told but the log."""
        try:
            done = await self.reload()
        except (BadCommand, Unavailable) as error:
            _log.warning("SIGHUP: %s", error)
            return
        _log.info(
            "SIGHUP: settings read again: taken up %s; a restart is needed for %s",
            ", ".join(done.taken) or "nothing",
            ", ".join(done.restart) or "nothing",
        )

    async def _make_groups(self, settings: Settings) -> bool:
        if self._store is None:
            return False
        groups = ConfiguredGroups(
            (stream.name, group.configuration()) for stream in settings.streams for group in stream.groups
        )
        try:
            await groups.make(self._store)
        except StreamUnavailable as error:
            raise Unavailable("the store of streams can't be reached: the groups are as they were") from error
        return True
