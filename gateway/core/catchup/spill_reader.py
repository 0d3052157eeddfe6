"""Reads on for a connection that could not take all that its streams brought."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.catchup.readers import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.messages.encoder import Encoder
    from gateway.core.messages.publication import Publication
    from gateway.core.streams.stream import FollowedStream


class SpillReader(Reader):
    """Reads for all live subscriptions of a connection at once, in the streams that have overflowed."""

    __slots__ = ("_filters_of", "_picker_of", "_wanted")

    def __init__(
        self,
        encoder: Encoder,
        *,
        filters_of: Callable[[FollowedStream], tuple[str, ...]],
        picker_of: Callable[[FollowedStream], Callable[[str], bool]],
    ) -> None:
        """Begin with no stream.

        Args:
            encoder: the connection's.
            filters_of: its live filters that may match something of a stream.
            picker_of: what says whether one of them matches a topic of a stream.
        """
        super().__init__(encoder, {})
        self._filters_of = filters_of
        self._picker_of = picker_of
        self._wanted: dict[FollowedStream, tuple[str, ...]] = {}

    def subscriptions_changed(self) -> None:
        """The connection has other live subscriptions now."""
        # Only gaps ask for the filters, one by one: so they are remembered.
        self._wanted.clear()

    def _filters(self, stream: FollowedStream) -> tuple[str, ...]:
        wanted = self._wanted.get(stream)
        if wanted is None:
            wanted = self._wanted[stream] = self._filters_of(stream)
        return wanted

    def _picker(self, stream: FollowedStream) -> Callable[[str], bool]:
        return self._picker_of(stream)

    def _encode(self, stream: FollowedStream) -> Callable[[Publication], bytes]:  # noqa: ARG002 - all of them share it
        encoder = self.encoder
        return lambda publication: publication.frame(encoder)
