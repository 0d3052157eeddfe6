"""The figures that a node tells of itself each second, by name, and what those of several nodes are together.

Spec: docs/http.md, "Statistics".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.messages.commands import Overflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.core.statistics.ring import Value

SECONDS_KEPT: Final = 900
STEP_SECONDS: Final = 1

HELD_SECONDS: Final = 5
"""Between two looks at what streams and groups hold."""

MOST_STREAMS: Final = 64
MOST_GROUPS: Final = 128
"""Of which the past is kept; the first by name."""

DROPPED: Final = {policy: f"dropped_{policy.value}" for policy in Overflow}
"""Names by policy."""

GAUGES: Final = (
    "connections",
    "subscriptions",
    "slow_consumers",
    "behind",
    "http_connections",
    "lag_ms",
    "memory_bytes",
    "cpu",
    "bus_waiting_bytes",
    "bus_unread_bytes",
    "store_waiting",
    "bus_connected",
    "store_connected",
    "members",
    "pulls_waiting",
)
COUNTED: Final = (
    "opened",
    "publications",
    "publication_bytes",
    "unmatched",
    "fanned_out",
    "deliveries",
    "delivery_bytes",
    *DROPPED.values(),
    "spills",
    "refused",
    "stored",
    "store_failed",
    "bus_out",
    "bus_in",
    "bus_failed",
    "bus_lost",
    "delivered_to_members",
    "acknowledged",
    "rejected",
)
LATENCIES: Final = ("fanout", "bus", "store")
"""Each is told as ``…_p50_ms``, ``…_p99_ms`` and ``…_max_ms``."""

PERCENTILES: Final = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))

NAMES: Final = (
    *GAUGES,
    *COUNTED,
    *(f"{each}_{name}_ms" for each in LATENCIES for name, _ in PERCENTILES),
)

_LARGEST: Final = {"lag_ms", "memory_bytes", "cpu"} | {name for name in NAMES if name.endswith("_ms")}
_LEAST: Final = {"bus_connected", "store_connected"}


class Seconds(NamedTuple):
    """What one node, or all together, tell of consecutive seconds.

    Attributes:
        first: the first of them, since 1970.
        series: by name, a value for each second.
    """

    first: int
    series: Mapping[str, Sequence[Value]]


def merged(nodes: Iterable[Seconds], seconds: range) -> dict[str, list[Value]]:
    """What all ``nodes`` had together in each of ``seconds``: their sum, the largest or the least by name.

    Where no node tells a figure it is None; where some don't, it is that of the others.
    """
    told = list(nodes)
    together: dict[str, list[Value]] = {}
    for name in NAMES:
        law = _law(name)
        columns = [_aligned(each.series[name], each.first, seconds) for each in told if name in each.series]
        if columns:
            together[name] = [_together(law, values) for values in zip(*columns, strict=True)]
    return together


def _law(name: str) -> Callable[[list[float]], float]:
    return max if name in _LARGEST else min if name in _LEAST else sum


def _aligned(values: Sequence[Value], first: int, seconds: range) -> list[Value]:
    return [values[second - first] if 0 <= second - first < len(values) else None for second in seconds]


def _together(law: Callable[[list[float]], float], values: Iterable[Value]) -> Value:
    known = [value for value in values if value is not None]
    return law(known) if known else None
