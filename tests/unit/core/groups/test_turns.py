"""Lines by key and shares in turn, whatever is removed from among them."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.groups.turns import Turns

ITEMS = st.lists(st.tuples(st.sampled_from([None, "k", "l"]), st.sampled_from(["", "a", "b"])), max_size=30)


@given(items=ITEMS, removed=st.sets(st.integers(1, 30)))
def test_each_key_goes_in_order_and_what_was_removed_never_comes(
    items: list[tuple[str | None, str]], removed: set[int]
) -> None:
    turns = Turns(ordered=True)
    keys: dict[int, str | None] = {}
    shares: dict[int, str] = {}
    for offset, (key, share) in enumerate(items, 1):
        keys[offset], shares[offset] = key, share
        if not turns.enter(offset, key, share):
            turns.make_ready(offset, share)
    for offset in sorted(removed & keys.keys()):
        if not turns.remove(offset, keys[offset]) and (following := turns.finish(offset)) is not None:
            turns.make_ready(*following)
    left = keys.keys() - removed
    assert turns.ready + turns.parked == len(left)
    came: list[int] = []
    while (taken := turns.take()) is not None:
        offset, share = taken
        assert share == shares[offset]
        came.append(offset)
        if (following := turns.finish(offset)) is not None:
            turns.make_ready(*following)
    assert sorted(came) == sorted(left)
    for key in ("k", "l"):
        assert [each for each in came if keys[each] == key] == sorted(
            each for each in left if keys[each] == key
        )
    assert turns.ready == turns.parked == 0


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40))
def test_every_share_has_its_turn_after_at_most_one_of_each_other(shares: list[str]) -> None:
    turns = Turns(ordered=False)
    for offset, share in enumerate(shares, 1):
        turns.make_ready(offset, share)
    waiting = {share: deque(o for o, each in enumerate(shares, 1) if each == share) for share in set(shares)}
    since: dict[str, list[str]] = {share: [] for share in waiting}
    while (taken := turns.take()) is not None:
        offset, share = taken
        assert waiting[share].popleft() == offset
        for other, seen in since.items():
            if other == share:
                seen.clear()
            elif waiting[other]:
                assert share not in seen, "twice, while another one waited"
                seen.append(share)


def test_what_is_parked_is_known_to_wait_for_the_first_of_its_key() -> None:
    turns = Turns(ordered=True)
    assert not turns.enter(1, "k", "")
    assert turns.enter(2, "k", "")
    assert turns.parked_behind(2, "k") == 1
    assert turns.parked_behind(1, "k") is None
    assert turns.parked_behind(2, None) is None
    assert turns.finish(1) == (2, "")
    assert turns.parked_behind(2, "k") is None


def test_what_is_out_waits_for_nobody_of_its_key() -> None:
    turns = Turns(ordered=True)
    assert not turns.enter(1, "k", "", out=True)
    assert not turns.enter(2, "k", "", out=True)
    assert turns.enter(3, "k", "")
    assert turns.parked_behind(2, "k") is None
    assert turns.parked_behind(3, "k") == 1
    turns.make_ready(2, "")
    assert not turns.remove(2, "k")
    assert turns.finish(2) is None
    assert (turns.ready, turns.parked) == (0, 1)
    assert turns.finish(1) == (3, "")
    assert turns.finish(3) is None
