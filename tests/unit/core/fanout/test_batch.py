from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.fanout.batch import Batch
from tests.unit.core.wire import ENCODER, batch, lines_of, publication


def test_its_frames_are_those_that_all_who_get_them_share() -> None:
    made = [publication("t", "1"), publication("t", "2")]
    whole = Batch(made, ENCODER)
    assert whole.joined == b"".join(each.frame(ENCODER) for each in made)
    assert whole.part(0, 2) is whole.joined
    assert (len(whole), whole.stream, whole.filter) == (2, None, None)


def test_one_publication_is_joined_to_nothing() -> None:
    made = publication("t", "1")
    assert Batch([made], ENCODER).joined is made.frame(ENCODER)


def test_for_one_subscription_alone_every_frame_bears_its_filter() -> None:
    for_one = Batch([publication("t/a", "1"), publication("t/b", "2")], ENCODER, topic_filter="t/#")
    assert [line["filter"] for line in lines_of(for_one.joined)] == ["t/#", "t/#"]
    assert "filter" not in lines_of(publication("t/a").frame(ENCODER))[0]


@given(
    labels=st.lists(st.text("x", max_size=40), min_size=1, max_size=8),
    cut=st.tuples(st.integers(0, 7), st.integers(0, 8)),
    size=st.integers(0, 400),
)
def test_places_in_it_are_those_that_counting_finds(
    labels: list[str], cut: tuple[int, int], size: int
) -> None:
    made = batch("t", *labels)
    sizes = list(map(len, made.frames))
    first = min(cut[0], len(made) - 1)
    last = max(first + 1, min(cut[1], len(made)))
    assert made.part(first, last) == b"".join(made.frames[first:last])
    assert made.size(first, last) == sum(sizes[first:last])
    fitting = [end for end in range(first, last + 1) if sum(sizes[first:end]) <= size]
    assert made.within(first, last, size) == max(fitting)
    if size > 0:
        enough = [end for end in range(first, last + 1) if sum(sizes[first:end]) >= size]
        assert made.reaching(first, last, size) == min(enough, default=last)
