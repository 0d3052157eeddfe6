from __future__ import annotations

import pytest

from gateway.auth.grants import EVERYTHING, Grants
from gateway.core.groups.delivery_token import LeaseName, decode_token
from gateway.core.messages.publication import Publication
from gateway.engine.groups import Groups, delivery_of
from gateway.engine.metrics.refusals import Refusals
from gateway.errors import NotFound, NotPermitted
from gateway.streams.groups.base import Lease, LeasedPublication


def test_who_has_no_grant_is_not_told_what_there_is() -> None:
    refusals = Refusals()
    groups = Groups(None, refusals)
    with pytest.raises(NotPermitted):
        groups.consumable("s", "g", Grants(consume=("s/other",)))
    assert refusals.statistics()["grant"] == 1
    with pytest.raises(NotFound):
        groups.consumable("s", "g", EVERYTHING)


def test_counts_of_groups_that_are_gone_are_forgotten() -> None:
    groups = Groups(None, Refusals())
    groups.counts["s", "g"].delivered += 1
    groups.counts["s", "gone"].delivered += 1
    groups.keep([("s", "g"), ("s", "new")])
    assert set(groups.counts) == {("s", "g")}


def test_a_delivery_bears_a_token_of_its_lease() -> None:
    publication = Publication("s/a", "m", 0, b"1", stream="s", offset=7)
    delivery = delivery_of(("s", "g"), LeasedPublication(publication, Lease(7, 3, "ab"), "m", 2, 99))
    assert decode_token(delivery.token) == LeaseName("s", "g", 7, 3, "ab")
    assert (delivery.publication, delivery.group) == (publication, "g")
    assert (delivery.attempt, delivery.deadline, delivery.fence) == (2, 99, 3)
