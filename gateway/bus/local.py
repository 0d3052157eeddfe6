"""The bus of a gateway that is one node: publishing is delivering."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.bus.base import BusStatistics
from gateway.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.bus.base import Lost
    from gateway.core.messages.publication import Publication


def _not_started(publication: Publication) -> None:  # noqa: ARG001 - stands in for a deliver
    raise BusUnavailable("the gateway is not running")


class LocalBus:
    """Delivers within the process, before ``publish`` returns."""

    def __init__(self) -> None:
        # Publishing is delivering, without a call in between: it is made once per message.
        self.publish: Callable[[Publication], None] = _not_started

    async def start(self, deliver: Callable[[Publication], None], lost: Lost) -> None:  # noqa: ARG002 - loses none
        """Deliver to ``deliver`` from now on."""
        self.publish = deliver

    async def stop(self) -> None:
        """Refuse every later publication."""
        self.publish = _not_started

    def subscribe(self, topic_filter: str) -> None:
        """Nothing to do: every publication of the gateway is made here."""

    def hears(self, topic_filter: str) -> bool:  # noqa: ARG002 - the same of all
        """Always."""
        return True

    def unsubscribe(self, topic_filter: str) -> None:
        """Nothing to do."""

    def statistics(self) -> BusStatistics:
        """Nothing is counted here: the publisher and the hub count all there is."""
        return BusStatistics()
