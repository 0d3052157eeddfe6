"""What time does to those whom an application knows: its answers age, identities and blocks end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.embed import Gateway, Identity
from gateway.errors import NotPermitted, SubjectBlocked, Unauthenticated


class TestWithAnAuthorize:
    asked: list[str]

    @pytest.fixture
    def gateway_application(self) -> Gateway:
        self.asked = []

        def may(principal, action, name) -> bool:
            self.asked.append(name)
            return len(self.asked) == 1

        return Gateway(authenticate=lambda connection: None, authorize=may, remember_seconds=300)

    async def test_it_is_asked_again_once_its_answer_is_old(self, gateway) -> None:
        async with gateway.client("ann") as client:
            await client.publish("a", 1)
            await gateway.clock.move(299)
            await client.publish("a", 2)
            assert self.asked == ["a"]
            await gateway.clock.move(2)
            with pytest.raises(NotPermitted):
                await client.publish("a", 3)
        assert self.asked == ["a", "a"]


async def test_an_identity_ends(gateway) -> None:
    expires = gateway.clock.now() + timedelta(minutes=10)
    async with gateway.client(Identity("ann", publish=["#"], expires=expires)) as client:
        await gateway.clock.move(timedelta(minutes=9))
        await client.publish("a", 1)
        await gateway.clock.move(timedelta(minutes=2))
        with pytest.raises(Unauthenticated):
            await client.publish("a", 2)
    assert [each.data for each in gateway.published()] == [1]


class TestWithABlock:
    @pytest.fixture
    def gateway_application(self) -> Gateway:
        return Gateway(authenticate=lambda connection: Identity("ann", publish=["#"], admin=True))

    async def test_it_ends(self, gateway) -> None:
        block = {"subject": "ann", "block_seconds": 60}
        assert (await gateway.http.post("/v1/disconnect", json=block)).is_success
        refused = await gateway.http.post("/v1/topics/a", json=1)
        assert (refused.status_code, refused.json()["code"]) == (403, SubjectBlocked.code)
        await gateway.clock.move(61)
        assert (await gateway.http.post("/v1/topics/a", json=1)).is_success
