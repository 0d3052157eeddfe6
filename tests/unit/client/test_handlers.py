"""Which handler a topic finds, and whether it needs a thread."""

from __future__ import annotations

import functools
import threading
from typing import Any

import anyio
import pytest

from gateway.client.handlers import Handlers
from gateway.errors import BadFilter

pytestmark = pytest.mark.anyio


async def in_the_loop(_delivery: Any) -> None:
    return None


def in_a_thread(_delivery: Any) -> None:
    return None


def gives_something_to_await(delivery: Any) -> Any:
    return in_the_loop(delivery)


class Callable:
    async def __call__(self, _delivery: Any) -> None:
        return None


def test_the_first_filter_that_matches_counts() -> None:
    handlers = Handlers()
    handlers.add("orders/+/created", in_the_loop)
    handlers.add("orders/#", in_a_thread)
    found = [handlers.find(topic) for topic in ("orders/eu/created", "orders", "other")]
    assert [each and each.filter for each in found] == ["orders/+/created", "orders/#", None]
    assert len(handlers) == 2
    with pytest.raises(ValueError, match="already"):
        handlers.add("orders/#", in_the_loop)
    with pytest.raises(BadFilter):
        handlers.add("orders/#/x", in_the_loop)


@pytest.mark.parametrize(
    ("function", "threaded"),
    [
        (in_the_loop, False),
        (functools.partial(in_the_loop), False),
        (Callable(), False),
        (in_a_thread, True),
        (functools.partial(in_a_thread), True),
        # What gives something to await is told only by being called: in a thread, to be safe.
        (gives_something_to_await, True),
    ],
)
async def test_what_is_not_async_runs_in_a_thread_and_what_it_gives_is_awaited(
    function: Any, threaded: bool
) -> None:
    handlers = Handlers()
    handlers.add("#", function)
    handler = handlers.find("a")
    assert handler is not None
    assert handler.threaded is threaded
    await handler.call(None, anyio.CapacityLimiter(1))  # type: ignore[arg-type]  # handlers of this test look at nothing


async def test_a_thread_is_left_to_itself_where_its_handler_is_cancelled() -> None:
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    def blocks(_delivery: Any) -> None:
        begun.set()
        end.wait()
        ended.set()

    handlers = Handlers()
    handlers.add("#", blocks)
    handler = handlers.find("a")
    assert handler is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handler.call, None, anyio.CapacityLimiter(1))
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()
    assert not ended.is_set()
    end.set()
    await anyio.to_thread.run_sync(ended.wait)
