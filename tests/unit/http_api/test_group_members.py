from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from gateway.auth.principal import ANONYMOUS
from gateway.http_api.bodies import BodyReader
from gateway.http_api.group_members import GroupMemberRoutes
from tests.unit.engine.groups_world import groups_node, in_virtual_time
from tests.unit.lasting import lasting_requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Message

    from gateway.streams.groups.base import Taken
    from tests.unit.engine.groups_world import GroupsNode


def routes(node: GroupsNode) -> GroupMemberRoutes:
    async def everybody(_request: Request) -> Any:
        return ANONYMOUS

    return GroupMemberRoutes(
        node.groups,
        node.puller,
        node.acknowledger,
        authenticate=everybody,
        lasting=lasting_requests(),
        bodies=BodyReader(),
    )


class Client:
    """Asks for something, and goes away when a test says so."""

    def __init__(self, body: bytes) -> None:
        self.gone = asyncio.Event()
        self._body: bytes | None = body
        self.request = Request(
            {
                "type": "http",
                "method": "POST",
                "headers": [],
                "query_string": b"",
                "client": None,
                "path_params": {"stream": "s", "group": "g"},
            },
            self._receive,
        )

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body}
        await self.gone.wait()
        return {"type": "http.disconnect"}


@in_virtual_time
async def test_who_goes_while_the_store_is_asked_leaves_nothing_leased() -> None:
    async with groups_node() as node:
        await node.publish()
        take = node.store.groups.take

        async def slow(stream: str, group: str, members: Sequence[str]) -> Taken:
            await asyncio.sleep(1)
            return await take(stream, group, members)

        node.store.groups.take = slow  # type: ignore[method-assign]
        client = Client(b'{"max":10}')
        pulling = asyncio.create_task(routes(node).pull(client.request))
        await asyncio.sleep(0.5)
        client.gone.set()
        await pulling
        await asyncio.sleep(1)
        assert (await node.figures()).in_flight == 0
        pulled = await routes(node).pull(Client(b"").request)
        assert b'"attempt":1' in bytes(pulled.body)
