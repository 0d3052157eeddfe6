"""What a group is through with: as few ranges as it makes, and what changed of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.groups.finished import Finished

RANGES = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda each: (each[0], sum(each))), max_size=30
)


@given(RANGES)
def test_what_is_added_is_in_it_and_the_changes_make_the_same(
    added: list[tuple[int, int]],
) -> None:
    finished, model, kept = Finished(), set[int](), dict[int, int]()
    for first, last in added:
        finished.add(first, last)
        model |= set(range(first, last + 1))
        for changed in finished.changed:
            kept.pop(changed, None)
            if (found := finished.range_from(changed)) is not None:
                kept[changed] = found[1]
        finished.changed.clear()
        assert {offset for offset in range(1, 80) if offset in finished} == model
        assert finished.floor == next(offset for offset in range(80) if offset + 1 not in model)
        # As few as can be: there is something undone between any two of them.
        assert all(last + 1 not in model for last in kept.values())
        again = Finished(finished.floor, sorted(kept.items()))
        assert {offset for offset in range(1, 80) if offset in again} == model
        assert len(again) == len(finished) == len(kept)
