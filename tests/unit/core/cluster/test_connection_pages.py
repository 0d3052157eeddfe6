from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cluster.connection_pages import merge, slowest
from gateway.core.cluster.control import Connections, SlowConnections
from gateway.core.cluster.info import ConnectionInfo

NODES = st.dictionaries(
    st.sampled_from(["n1", "n2", "n3"]), st.sets(st.text("abc", min_size=1, max_size=3)), min_size=1
)


def page_of(names: set[str], after: str, limit: int) -> Connections:
    rest = sorted(name for name in names if name > after)
    page = rest[:limit]
    facts = tuple(ConnectionInfo(name, None, "", "websocket", 0, 0, 0, 0) for name in page)
    return Connections(facts, page[-1] if len(rest) > limit else None)


@given(NODES, st.integers(1, 5), st.integers(1, 5))
def test_page_after_page_holds_every_connection_once(nodes, limit, fewer) -> None:
    """Also where nodes tell fewer than they are asked for."""
    # Names are unique among all nodes, as random ones are.
    owned: dict[str, set[str]] = {}
    for node, names in nodes.items():
        owned[node] = names - set().union(*owned.values())
    seen: list[tuple[str, str]] = []
    after: str | None = ""
    while after is not None:
        pages = {node: page_of(names, after, min(limit, fewer)) for node, names in owned.items()}
        merged = merge(pages, limit=limit)
        assert len(merged.connections) <= limit
        assert merged.next is None or merged.next > after
        seen += [(facts.session, node) for node, facts in merged.connections]
        after = merged.next
    assert seen == sorted((name, node) for node, names in owned.items() for name in names)


def test_the_slowest_are_those_for_which_most_waits_then_those_blocked_longest() -> None:
    """Nothing waits for one that was let go: it is told from those that are up to date."""

    def waits(session: str, size: int, blocked_ms: int | None) -> ConnectionInfo:
        return ConnectionInfo(session, None, "", "websocket", 0, 0, 0, size, blocked_ms=blocked_ms)

    most, long, short, taking = waits("d", 9, 1), waits("c", 0, 7), waits("b", 0, 0), waits("a", 0, None)
    pages = {"n1": SlowConnections((taking, most)), "n2": SlowConnections((short, long))}
    assert slowest(pages, limit=3) == [
        ("n1", most),
        ("n2", long),
        ("n2", short),
    ]
