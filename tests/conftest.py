"""What every test shares: one async backend, and Hypothesis bounded for two slow cores."""

from __future__ import annotations

import os
import resource

import pytest
from hypothesis import HealthCheck, settings

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


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Uvicorn and redis-py run on asyncio alone."""
    return "asyncio"
