"""What would not work or not be safe is refused before anything is installed, with the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import helm_python
import pytest

if TYPE_CHECKING:
    from .conftest import Helm

ONE = {"replicas": 1, "insecure": True}
BUNDLED: dict[str, Any] = {"insecure": True, "redis": {"bundled": {"enabled": True}}}
REQUIRED = {"auth": {"mode": "required", "keys": [{"algorithm": "HS256", "secret": "env:SECRET"}]}}


def test_defaults_are_refused_with_both_ways_out(helm: Helm) -> None:
    open_door, lonely_nodes = helm.refusals({})
    assert "settings.auth.mode" in open_door
    assert "insecure=true" in open_door
    assert "redis.urlSecret.name" in lonely_nodes
    assert "redis.bundled.enabled=true" in lonely_nodes
    assert "replicas=1" in lonely_nodes


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replicas": 1}, "settings.auth.mode"),
        ({"replicas": 1, "settings": {"auth": {"mode": "none"}}}, "settings.auth.mode"),
        ({"replicas": 1, "settings": {"auth": None}}, "settings.auth.mode"),
        ({"insecure": True}, "several nodes without Redis"),
        ({**ONE, "autoscaling": {"enabled": True}}, "several nodes without Redis"),
        (
            {"insecure": True, "redis": {"urlSecret": {"name": "a"}, "bundled": {"enabled": True}}},
            "exclude each other",
        ),
        ({**BUNDLED, "data": {"existingClaim": "claim"}}, "data.existingClaim"),
        ({**ONE, "settings": {"server": {"port": 9000}}}, "settings.server.port is the chart's to set"),
        ({**ONE, "settings": {"server": {"host": "::"}}}, "settings.server.host is the chart's to set"),
        ({**ONE, "settings": {"server": {"insecure": False}}}, "settings.server.insecure is the chart's"),
        ({**ONE, "settings": {"server": {"drain_seconds": 5}}}, "settings.server.drain_seconds is the"),
        (
            {**BUNDLED, "settings": {"redis": {"url": "redis://a"}}},
            "settings.redis.url is the chart's to set",
        ),
        ({**BUNDLED, "autoscaling": {"enabled": True, "minReplicas": 11}}, "minReplicas (11) is more than"),
        (
            {**BUNDLED, "autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
            "resources.requests.cpu",
        ),
        ({**ONE, "ingress": {"enabled": True}}, "ingress.hosts"),
        ({"replicas": 1, "settings": REQUIRED, "serviceMonitor": {"enabled": True}}, "tokenSecret.name"),
    ],
)
def test_refused(helm: Helm, values: dict[str, Any], says: str) -> None:
    (refusal,) = helm.refusals(values)
    assert says in refusal


@pytest.mark.parametrize(
    "values",
    [
        {"replicaCount": 3},
        {"replicas": 0},
        {"replicas": "2"},
        {"insecure": "yes"},
        {"settings": {"hook": []}},
        {"settings": {"hooks": {"name": "github"}}},
        {"settings": {"auth": {"mode": "off"}}},
        {"existingSecrets": "secret"},
        {"existingSecrets": ["Not_a_name"]},
        {"extraEnv": [{"name": "A", "valuefrom": {}}]},
        {"extraEnv": [{"value": "a"}]},
        {"drainSeconds": -1},
        {"drainSeconds": "20s"},
        {"listenAddress": "127.0.0.1"},
        {"redis": {"url": "redis://:password@redis:6379"}},
        {"redis": {"bundled": {"replicas": 3}}},
        {"redis": {"bundled": {"persistence": {"size": "much"}}}},
        {"image": {"digest": "latest"}},
        {"image": {"pullPolicy": "Sometimes"}},
        {"service": {"type": "ExternalName"}},
        {"service": {"port": 70000}},
        {"ingress": {"hosts": ["https://gateway.example.com"]}},
        {"ingress": {"hosts": [{"host": "gateway.example.com"}]}},
        {"ingress": {"tls": [{"secretName": "tls"}]}},
        {"ingress": {"annotations": {"timeout": 3600}}},
        {"autoscaling": {"targetCPU": 0}},
        {"disruptionBudget": {"maxUnavailable": 0}},
        {"serviceMonitor": {"interval": 30}},
        {"topologySpread": {"whenUnsatisfiable": "Never"}},
        {"networkPolicy": {"from": {"podSelector": {}}}},
        {"resources": {"cpu": "1"}},
    ],
    ids=str,
)
def test_the_schema_refuses(helm: Helm, values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmValuesError):
        helm.chart.validate_schema(values)
    with pytest.raises(helm_python.HelmError):
        helm.render({**ONE, **values})
