"""An array is counted before it is taken apart, in linear time and without keeping anything."""

import gc
import json
import multiprocessing
import tracemalloc
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import TooLarge
from gateway.http_api.publishing import item_count
from gateway.http_api.publishing.item_count import refuse_too_many_items

SIZE = 4 * 1024 * 1024
"""What isn't counted in linear time doesn't end with a body so long."""

LITTLE = 1_000_000


@pytest.fixture(scope="module")
def alone():
    """A process without other threads: what those hold would count too."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        # What is made with the first call only is not what a body makes it keep.
        processes.submit(refused_and_peak, b"[" + b"1," * 100_000 + b"1]").result()
        yield processes


def refused_and_peak(body):
    """Whether ``body`` is refused, and how many bytes more are held at any moment."""
    gc.collect()
    tracemalloc.start()
    try:
        refuse_too_many_items(body, 1_000)
    except TooLarge:
        return True, tracemalloc.get_traced_memory()[1]
    else:
        return False, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("item", [b"1,", b"[],", b'"",', b"{},", b'{"a":[1,2,3],"b":"],["},'])
def test_too_many_items_are_refused_without_being_kept(alone, item):
    body = b"[" + item * (SIZE // len(item)) + b"1]"
    refused, peak = alone.submit(refused_and_peak, body).result()
    assert refused
    assert peak < LITTLE


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[" * SIZE,
        b"[[" + b"[]," * (SIZE // 3) + b"1]]",
        b'["' + b'\\"' * (SIZE // 2),
        b"," * SIZE,
        b"{}" + b"," * SIZE,
        b"[1,2",
    ],
)
def test_everything_else_passes_without_being_kept(alone, body):
    refused, peak = alone.submit(refused_and_peak, body).result()
    assert not refused
    assert peak < LITTLE


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('a",', max_size=2), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(items=st.lists(values, max_size=8), limit=st.integers(1, 8))
def test_the_count_is_the_array_s_own(items, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_count, "_CHEAP_ITEMS", 0)
        body = json.dumps(items).encode()
        if len(items) > limit:
            with pytest.raises(TooLarge):
                refuse_too_many_items(body, limit)
        else:
            refuse_too_many_items(body, limit)
