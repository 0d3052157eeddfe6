"""What single values change: Redis, autoscaling, ingress, disruption, network, probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.observability.metrics import Metrics

from .conftest import VALUES, read

if TYPE_CHECKING:
    from .conftest import Helm, Release

FILES = {file.stem: file for file in VALUES}


@pytest.fixture
def rendered(helm: Helm, request: pytest.FixtureRequest) -> Release:
    return helm.render(read(FILES[request.param]))


def named(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rendered", [name], indirect=True)


def variables(release: Release) -> dict[str, object]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in release.container["env"]}


@named("minimal")
def test_one_node_without_redis_is_never_two(rendered: Release) -> None:
    deployment = rendered.one("Deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert rendered.all("StatefulSet") == []
    assert rendered.all("PodDisruptionBudget") == []
    assert "REDIS_URL" not in variables(rendered)


def test_one_node_may_keep_its_data(helm: Helm) -> None:
    release = helm.render({"replicas": 1, "insecure": True, "data": {"existingClaim": "streams"}})
    volumes = {volume["name"]: volume for volume in release.pod["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"] == {"claimName": "streams"}


@named("bundled-redis")
def test_bundled_redis_is_reached_by_the_nodes_alone(rendered: Release) -> None:
    redis = rendered.one("StatefulSet")
    assert redis["spec"]["replicas"] == 1
    assert variables(rendered)["REDIS_URL"] == "redis://:$(REDIS_PASSWORD)@demo-fanout-gateway-redis:6379/0"
    names = [item["name"] for item in rendered.container["env"]]
    assert names.index("REDIS_PASSWORD") < names.index("REDIS_URL")
    assert "demo-fanout-gateway-redis" in {s["metadata"]["name"] for s in rendered.all("Service")}
    (rule,) = rendered.one("NetworkPolicy")["spec"]["ingress"]
    node = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert rule["from"] == [{"podSelector": {"matchLabels": node}}]
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    assert 'requirepass "$REDIS_PASSWORD"' in script
    assert "appendonly yes" in script
    assert rendered.one("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@named("external-redis")
def test_external_redis_comes_from_a_secret(rendered: Release) -> None:
    assert rendered.all("StatefulSet") == []
    reference = {"secretKeyRef": {"name": "redis-of-the-house", "key": "REDIS_TLS_URL"}}
    assert variables(rendered)["REDIS_URL"] == reference
    assert rendered.one("Deployment")["spec"]["replicas"] == 3
    assert rendered.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@named("autoscaling")
def test_the_autoscaler_owns_the_number_of_nodes(rendered: Release) -> None:
    assert "replicas" not in rendered.one("Deployment")["spec"]
    scaler = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == rendered.one("Deployment")["metadata"]["name"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 40)
    cpu, connections = scaler["metrics"]
    assert cpu["resource"]["target"]["averageUtilization"] == 70
    assert connections["pods"]["target"]["averageValue"] == "20000"
    metrics = Metrics()
    metrics.gauge("connections", "Open client connections.", lambda: 1.0)
    assert f"{connections['pods']['metric']['name']} 1.0".encode() in metrics.render()
    (script,) = rendered.one("StatefulSet")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "appendonly no" in script
    assert "requirepass" not in script


@named("ingress-tls")
def test_the_ingress_lets_websockets_through(rendered: Release) -> None:
    ingress = rendered.one("Ingress")
    timeouts = [
        ingress["metadata"]["annotations"][f"nginx.ingress.kubernetes.io/proxy-{way}-timeout"]
        for way in ("read", "send")
    ]
    assert timeouts == ["3600", "3600"]
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"secretName": "gateway-tls", "hosts": ["gateway.example.com"]}]
    (rule,) = ingress["spec"]["rules"]
    assert rule["http"]["paths"][0]["path"] == "/"
    assert "https://gateway.example.com/" in rendered.notes


@named("minimal")
def test_probes_ask_what_the_gateway_answers(rendered: Release) -> None:
    asked = {name: rendered.container[name]["httpGet"] for name in rendered.container if "Probe" in name}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    for probe in asked.values():
        assert probe["scheme"] == "HTTP"
        assert probe["httpHeaders"] == [{"name": "Host", "value": "localhost"}]


def test_a_gateway_with_a_certificate_is_asked_over_https(helm: Helm) -> None:
    server = {"tls_certificate": "/etc/tls/tls.crt", "tls_key": "/etc/tls/tls.key"}
    release = helm.render({"replicas": 1, "insecure": True, "settings": {"server": server}})
    assert release.container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    assert release.one("Service")["spec"]["ports"][0]["appProtocol"] == "https"


@named("full")
def test_network_policy_and_monitor(rendered: Release) -> None:
    policy = next(p for p in rendered.all("NetworkPolicy") if p["metadata"]["name"] == "shop-events")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    ports = [port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]]
    assert ports == [53, 53, 6379, 443]
    (endpoint,) = rendered.one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["authorization"]["credentials"] == {"name": "gateway-admin", "key": "token"}


@named("full")
def test_an_image_by_digest(rendered: Release) -> None:
    assert rendered.container["image"].startswith("images.example.com/shop/gateway@sha256:")


def test_long_names_leave_room_for_what_kubernetes_adds(helm: Helm) -> None:
    release = helm.render({**read(FILES["bundled-redis"])}, name="r" * 53)
    for manifest in release.manifests:
        assert len(manifest["metadata"]["name"]) <= 56
