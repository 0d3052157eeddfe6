"""The suites run against real processes, as the integration tests do."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import gateway_process, module_gateway_process
from tests.patience import HANG_SECONDS
from tests.redis_process import module_redis_server, redis_cluster, redis_server, redis_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["gateway_process", "module_gateway_process", "module_redis_server", "redis_server"]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As in production: asyncio's own loop hides what a reset does to who writes next."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Gives the URL of what is asked for; each is started once."""
    with ExitStack() as stack:

        @cache
        def url(kind: str) -> str:
            make, _, cluster = kind.partition("-")
            directory = tmp_path_factory.mktemp(kind)
            if not cluster:
                (server,) = stack.enter_context(redis_servers(directory, (), make=make))
                return server.url
            parts = stack.enter_context(redis_cluster(directory, make, silence=HANG_SECONDS))
            return "redis+cluster://" + ",".join(server.address for server in parts)

        yield url
