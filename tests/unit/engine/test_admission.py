from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.admission import Admission, AdmissionLimits, ConnectionQuota, address_key
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import RateLimited, TooMany


def admission(**limits: float) -> Admission:
    return Admission(AdmissionLimits(**limits), Refusals(), clock=lambda: 0.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("a:b", "a:c", False),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (address_key(one) == address_key(other)) is same


def test_a_place_is_given_back_once() -> None:
    door = admission(per_address=1)
    place = door.enter("a")
    with pytest.raises(TooMany):
        door.enter("a")
    place.leave()
    place.leave()
    again = door.enter("a")
    with pytest.raises(TooMany):
        door.enter("a")
    again.leave()


def test_a_refused_subject_takes_nothing() -> None:
    door = admission(per_subject=1)
    first, second = door.enter("a"), door.enter("b")
    first.identify("ann")
    first.identify("ann")
    with pytest.raises(TooMany):
        second.identify("ann")
    second.leave()
    first.leave()
    first.identify("ann")
    door.enter("c").identify("ann")


def test_rates_are_for_each_address() -> None:
    door = admission(connects_per_second=1)
    for _ in range(5):
        door.enter("a").leave()
    with pytest.raises(RateLimited):
        door.enter("a")
    door.enter("b")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "x", "y"]), st.booleans())))
def test_counts_are_those_of_the_places_taken(steps: list[tuple[str, str | None, bool]]) -> None:
    door = admission(per_address=3, per_subject=2)
    taken: list[tuple[str, str | None, ConnectionQuota]] = []
    for address, subject, leaves in steps:
        if leaves and taken:
            taken.pop(0)[2].leave()
            continue
        full = sum(each[0] == address for each in taken) >= 3
        try:
            place = door.enter(address)
        except TooMany:
            assert full
            continue
        assert not full
        crowded = subject is not None and sum(each[1] == subject for each in taken) >= 2
        try:
            place.identify(subject)
        except TooMany:
            assert crowded
            place.leave()
            continue
        assert not crowded
        taken.append((address, subject, place))
    for _, _, place in taken:
        place.leave()
    assert not door._addresses
    assert not door._subjects
