"""Going on with a group as it was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.groups.deliveries import DeliveryState
from gateway.core.groups.finished import Finished
from gateway.core.groups.group import Group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.messages.publication import Publication
    from gateway.streams.groups.journal import GroupState


def group_of(state: GroupState) -> Group:
    """The group that was kept; its deliveries are yet to be restored."""
    counters = state.counters
    group = Group(
        state.configuration,
        finished=Finished(counters.floor, state.ranges),
        deliveries=[each.copy() for each in state.deliveries],
        fence=counters.fence,
    )
    group.redelivered, group.lost = counters.redelivered, counters.lost
    return group


def restore_deliveries(
    group: Group, redriven: Mapping[int, Publication], held: Mapping[int, Publication]
) -> list[int]:
    """Have go on what the log does not offer again, where its copy is still there.

    What was sent back and hadn't been delivered since is to be restored when the log has been offered, since
    the first of its key stays first: those offsets are the result.
    """
    last: list[int] = []
    for offset in sorted(group.deliveries):
        delivery = group.deliveries[offset]
        copy = redriven.get(offset) or held.get(offset)
        if delivery.state is DeliveryState.DEAD and copy is None:
            # Its dead letter is no more: then nobody can decide on it.
            group.discard(offset)
        elif copy is not None and (delivery.fence or offset in held):
            group.restore(offset, copy.topic, copy.key)
        elif copy is not None:
            last.append(offset)
        elif offset in group.finished:
            # Sent back, but the copy is damaged.
            del group.deliveries[offset]
            group.changed.add(offset)
            group.lost += 1
    return last
