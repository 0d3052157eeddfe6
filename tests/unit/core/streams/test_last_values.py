"""Last values against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.messages.publication import Publication
from gateway.core.streams.last_values import LastValues

TOPICS = st.sampled_from([f"t{number}" for number in range(12)])
STEPS = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "remove"]), TOPICS), max_size=300)


def publication(topic: str, offset: int, time: int = 0) -> Publication:
    return Publication(topic, f"m{offset}", time, b"1", stream="s", offset=offset)


@given(STEPS, st.integers(0, 300), st.integers(1, 20))
def test_they_are_the_newest_in_the_order_of_their_offsets(
    steps: list[tuple[str, str]], after: int, reach: int
) -> None:
    values = LastValues(1000, 0)
    model: dict[str, int] = {}
    for offset, (step, topic) in enumerate(steps, 1):
        before = model.pop(topic, None)
        if step == "put":
            values.put(publication(topic, offset), 7)
            model[topic] = offset
        else:
            assert values.remove(topic) == (before is not None)
        oldest = values.oldest()
        assert (oldest and oldest.offset) == min(model.values(), default=None)
    assert len(values) == len(model)
    for topic, offset in model.items():
        value = values.get(topic)
        assert value is not None
        assert (value.offset, value.publication.topic, value.size) == (offset, topic, 7)
    found = [each.offset for each in values.behind(after)]
    assert found == [each for each in sorted(model.values()) if each > after]
    through = values.reach(after, reach)
    assert len([each for each in found if through is None or each <= through]) <= max(reach, len(found))
    if through is not None:
        assert through > after
        assert len([each for each in found if each <= through]) <= reach


def test_what_was_replaced_leaves_nothing_behind() -> None:
    values = LastValues(1000, 0)
    for offset in range(1, 10_001):
        values.put(publication(f"t{offset % 10}", offset), 1)
        oldest = values.oldest()
        assert oldest is not None
        assert oldest.offset == max(1, offset - 9)
    assert len(values._order) < 100
    assert len(values) == len(values._topics) == 10


def test_too_many_and_too_old() -> None:
    values = LastValues(2, 10)
    for offset in range(1, 4):
        assert not values.is_full()
        values.put(publication(f"t{offset}", offset, offset * 1000), 1)
    assert values.is_full()
    oldest = values.oldest()
    assert oldest is not None
    assert oldest.offset == 1
    assert not values.is_old(oldest, 11_000)
    assert values.is_old(oldest, 11_001)
    assert not LastValues(2, 0).is_old(oldest, 10**15)
