"""What every test shares: one async backend, and Hypothesis bounded for two slow cores."""

from __future__ import annotations

import functools
import os
import resource

import httpcore2
import pytest
from httpx2._config import DEFAULT_TIMEOUT_CONFIG as REQUEST_TIMEOUTS
from hypothesis import HealthCheck, settings

from tests.patience import HANG_SECONDS

# Some tests hold thousands of connections; shells allow 1,024 files.
_, _MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))

# Gateways start by the hundred: each would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shared machine stalls now and then: a deadline per example would fail on its stalls, not on our code.
settings.register_profile(
    "gateway", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gateway")


# Requests that say nothing of it wait as long as everything else: five seconds are the library's own.
for step in ("connect", "read", "write", "pool"):
    setattr(REQUEST_TIMEOUTS, step, HANG_SECONDS)

# Each would read all authorities of the system anew, to ask a gateway that has no certificate.
httpcore2.default_ssl_context = functools.cache(httpcore2.default_ssl_context)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Uvicorn and redis-py run on asyncio alone."""
    return "asyncio"
