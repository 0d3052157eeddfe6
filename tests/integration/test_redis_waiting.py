"""What waits of a group in Redis, as bits, is what a set of offsets would hold."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.streams.redis.group_waiting_parts import WAITING

if TYPE_CHECKING:
    from tests.redis_process import RunningRedis

WINDOW: Final = 256
"""How many bits there may be in this test; some bytes of nothing are worth a new beginning."""

SCRIPT: Final = (
    """
local function text(number) return string.format('%.0f', number) end
local state = {base = tonumber(redis.call('GET', KEYS[1]) or '-1')}
"""
    + WAITING.replace("2 ^ 25, 1024", f"{WINDOW}, 2").replace("KEYS[29]", "KEYS[2]")
    + """
local told = {}
for _, step in ipairs(cmsgpack.unpack(ARGV[1])) do
  local answer = Waiting[step[1]](unpack(step, 2))
  if answer == nil then answer = -1 end
  if answer == true or answer == false then answer = answer and 1 or 0 end
  told[#told + 1] = answer
end
redis.call('SET', KEYS[1], text(state.base))
return told
"""
)

GAPS = st.lists(st.one_of(st.integers(1, 2), st.integers(1, 60)), min_size=1, max_size=40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), GAPS),
        st.tuples(st.just("take"), st.sets(st.integers(0, 60), max_size=30)),
        st.tuples(st.just("drop"), st.integers(0, 60)),
        st.tuples(st.just("cut"), st.integers(0, 300)),
        st.tuples(st.just("tell")),
    ),
    min_size=1,
    max_size=30,
)


def ask(client: redis.Redis, *steps: tuple[Any, ...]) -> list[Any]:
    told: list[Any] = client.eval(SCRIPT, 2, "base", "waiting", msgspec.msgpack.encode(steps))
    return told


@pytest.mark.parametrize("start", [0, 3, 2**52])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_bits_hold_what_a_set_would(
    module_redis_server: RunningRedis, start: int, steps: list[tuple[Any, ...]]
) -> None:
    with redis.Redis(port=module_redis_server.port) as client:
        client.flushall()
        waiting, last = set[int](), start
        for kind, *rest in steps:
            if kind == "enter":
                offsets = [last := last + gap for gap in rest[0]]
                (entered,) = ask(client, ("enter", offsets))
                # What is refused is too far from the first bit, and nothing in front of it is.
                beyond = int(client.get("base")) + WINDOW
                assert entered == len([each for each in offsets if each < beyond])
                waiting |= set(offsets[:entered])
            elif kind == "take":
                known = sorted(waiting)
                taken = sorted({known[each] for each in rest[0] if each < len(known)} | {last + 1})
                (others,) = ask(client, ("take", taken))
                # Some that were here may be among them, where one that wasn't is next to them.
                assert last + 1 in others
                waiting -= set(taken)
            elif kind == "drop":
                known = [*sorted(waiting), last + 1]
                dropped = known[rest[0] % len(known)]
                assert ask(client, ("drop", dropped)) == [int(dropped in waiting)]
                waiting.discard(dropped)
            elif kind == "cut":
                last = max(start, last - rest[0])
                ask(client, ("cut", last))
                waiting = {each for each in waiting if each <= last}
            else:
                ask(client, ("tell",))
            agree(client, waiting, start, last)
        ask(client, ("cut", start), ("tell",))
        assert not client.exists("waiting")


def agree(client: redis.Redis, waiting: set[int], start: int, last: int) -> None:
    known = sorted(waiting)
    places = range(0, len(known), 7)
    others = [one + 1 for one, other in pairwise([start - 1, *known, last + 1]) if other > one + 1]
    count, first, all_of_them, *told = ask(
        client,
        *(("count",), ("first",), ("following", 0, 10_000)),
        *(("following", known[place] + 1, 3) for place in places),
        *(("holds", known[place]) for place in places),
        *(("holds", other) for other in others),
    )
    assert (count, first, all_of_them) == (len(known), known[0] if known else -1, known)
    behind = [known[place + 1 : place + 4] for place in places]
    assert told == [*behind, *[1] * len(places), *[0] * len(others)]
