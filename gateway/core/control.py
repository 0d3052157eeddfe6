"""What the nodes of one gateway tell each other about themselves and their clients.

Everything travels as a publication on topics that begin with ``$gateway``, which no client may publish or
subscribe to: ``$gateway/nodes`` is heard by all nodes, ``$gateway-<node>/told`` by one.
"""

from __future__ import annotations

from typing import Final

CONTROL_LEVEL: Final = "$gateway"
"""What the first level of all these topics begins with."""
ALL_NODES: Final = f"{CONTROL_LEVEL}/nodes"


def topic_of(node: str) -> str:
    """The topic that ``node`` alone hears."""
    return f"{CONTROL_LEVEL}-{node}/told"


def is_control(topic_filter: str) -> bool:
    """Whether ``topic_filter`` is about topics that nodes use among themselves."""
    return topic_filter.startswith(CONTROL_LEVEL)
