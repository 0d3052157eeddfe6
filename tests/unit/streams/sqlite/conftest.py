from __future__ import annotations

from functools import partial

import pytest

from gateway.streams.limits import StoreLimits
from gateway.streams.sqlite import store
from tests.patience import HANG_SECONDS


@pytest.fixture(autouse=True)
def patient_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks have the time that they take on a busy machine, where a test says nothing else."""
    monkeypatch.setattr(store, "StoreLimits", partial(StoreLimits, timeout=HANG_SECONDS))
