"""What administrators did, in one order for all nodes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cluster.audit import AuditPart, AuditRecord, AuditTrail, Place, merge_records


def did(trail: AuditTrail, time: int) -> AuditRecord:
    return trail.add(
        time=time, subject="ann", peer="10.1:5", method="POST", path="/v1/x", status=200, detail={"count": 1}
    )


@given(
    st.builds(Place, st.integers(0, 10**15 - 1), st.text("abc019", min_size=1), st.integers(0, 10**15 - 1))
)
def test_a_place_is_read_as_it_was_written(place: Place) -> None:
    assert Place.read(str(place)) == place


def test_what_is_no_place_is_refused() -> None:
    for text in ("", "1", "1-a", "1-a-b", "-a-1", "1-a/b-1", "1-a-1-2"):
        assert Place.read(text) is None


def test_the_oldest_goes_where_there_are_too_many_and_the_order_is_the_nodes_own() -> None:
    trail = AuditTrail("a", kept=3)
    kept = [did(trail, time) for time in (5, 9, 7, 8)][1:]
    assert [(each.time, each.number) for each in kept] == [(9, 2), (9, 3), (9, 4)]
    assert trail.page(9, None) == AuditPart(tuple(reversed(kept)), more=False)
    assert trail.page(1, None) == AuditPart((kept[2],), more=True)
    assert trail.page(9, kept[1].place) == AuditPart((kept[0],), more=False)


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=25)


@given(STEPS, st.integers(1, 6), st.integers(1, 6))
def test_pages_of_several_nodes_hold_each_record_once_the_newest_first(steps, limit, told_at_most) -> None:
    """Also where a node tells fewer than it was asked for."""
    trails = {node: AuditTrail(node) for node in "abc"}
    time, everything = 0, []
    for node, later in steps:
        time += later
        everything.append(did(trails[node], time))
    found: list[AuditRecord] = []
    before: Place | None = None
    while True:
        parts = {}
        for node, trail in trails.items():
            part = trail.page(limit, before)
            if len(part.records) > told_at_most:
                part = AuditPart(part.records[:told_at_most], more=True)
            parts[node] = part
        records, following = merge_records(parts, limit)
        assert len(records) <= limit
        found += records
        if following is None:
            break
        before = Place.read(following)
    assert found == sorted(everything, key=lambda each: each.place, reverse=True)
