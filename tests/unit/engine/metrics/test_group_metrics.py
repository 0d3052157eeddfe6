"""What is shown of groups: figures of the store, counts of this node; all documented."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.engine.groups import GroupCounts
from gateway.engine.metrics import group_metrics
from gateway.engine.metrics.group_metrics import register_group_metrics
from gateway.observability.metrics import Metrics
from gateway.streams.groups.base import GroupStatistics
from tests.unit.engine.metrics.test_node_metrics import numbered, shown

OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"
NOW = 1000.0
KEY = ("s", "g")


@pytest.fixture
async def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    monkeypatch.setattr(group_metrics, "time", SimpleNamespace(time=lambda: NOW))
    looked = []

    async def refresh() -> None:
        looked.append(True)

    idle = GroupStatistics(oldest=None)
    busy = numbered(GroupStatistics, 10, oldest=int((NOW - 60) * 1000), members={})
    parts: dict[str, Any] = {
        "administration": SimpleNamespace(
            refresh=refresh,
            latest=lambda: {KEY: busy, ("s", "idle"): idle},
            counts=lambda: {KEY: numbered(GroupCounts, 20)},
        ),
        "consumer": SimpleNamespace(members=7),
        "puller": SimpleNamespace(waiting=8),
    }
    metrics = Metrics()
    register_group_metrics(metrics, **parts)
    await metrics.scrape()
    assert looked == [True]
    return shown(metrics)


async def test_every_figure_of_a_group_is_shown_once(found: dict[str, float]) -> None:
    labels = '{group="g",stream="s"}'
    names = [each.name for each in fields(GroupStatistics) if each.name not in {"oldest", "members"}]
    for number, name in enumerate(names, 10):
        total = "_total" if name in {"redelivered", "lost"} else ""
        assert found[f"gateway_group_{name}{total}{labels}"] == number
    for number, each in enumerate(fields(GroupCounts), 20):
        assert found[f"gateway_group_{each.name}_total{labels}"] == number
    assert found[f"gateway_group_oldest_age_seconds{labels}"] == 60
    assert found['gateway_group_oldest_age_seconds{group="idle",stream="s"}'] == 0
    assert (found["gateway_group_members"], found["gateway_group_pulls_waiting"]) == (7, 8)


async def test_every_metric_of_groups_is_documented(found: dict[str, float]) -> None:
    documented = OPERATIONS.read_text("utf-8")
    names = {name.partition("{")[0] for name in found}
    assert {name for name in names if f"`{name}`" not in documented} == set()
