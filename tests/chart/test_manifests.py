"""Whatever the values: the chart lints, its manifests fit Kubernetes' schemas and one another."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from .conftest import CHART, VALUES, read

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Helm, Manifest, Release

OLDEST, NEWEST = "1.30", "1.37"
CUSTOM = {"ServiceMonitor"}  # of the Prometheus operator, not of Kubernetes


def warnings(report: dict[str, Any]) -> list[str]:
    return [message["error"] for message in report["messages"] if message["severity"] > 1]


def selected(labels: dict[str, str], selector: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_lints(values: Manifest) -> None:
    for version in (OLDEST, NEWEST):
        report = helm_python.lint(CHART, values, strict=True, kube_version=f"v{version}.0")
        assert warnings(report) == []
        assert report["errors"] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_manifests_fit_the_schemas_of_kubernetes(release: Release, version: str) -> None:
    checked = [
        kubernetes_validate.validate(manifest, version, strict=True)
        for manifest in release.manifests
        if manifest["kind"] not in CUSTOM
    ]
    assert checked
    assert set(checked) == {version}


def test_no_two_manifests_have_one_name(release: Release) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in release.manifests]
    assert len(names) == len(set(names))
    assert {manifest["metadata"]["namespace"] for manifest in release.manifests} == {"events"}


def test_selectors_find_their_pods_and_no_others(release: Release) -> None:
    pods = {
        kind: manifest["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "StatefulSet")
        for manifest in release.all(kind)
    }
    owners = [m for kind in ("Deployment", "StatefulSet", "PodDisruptionBudget") for m in release.all(kind)]
    selectors = [manifest["spec"]["selector"]["matchLabels"] for manifest in owners]
    selectors += [manifest["spec"]["selector"] for manifest in release.all("Service")]
    selectors += [m["spec"]["podSelector"]["matchLabels"] for m in release.all("NetworkPolicy")]
    for selector in selectors:
        assert sum(selected(labels, selector) for labels in pods.values()) == 1, selector


def test_ports_volumes_and_accounts_that_are_named_exist(release: Release) -> None:
    ports = {port["name"] for port in release.container["ports"]}
    node = release.one("Deployment")["spec"]["selector"]["matchLabels"]
    (service,) = [s for s in release.all("Service") if s["spec"]["selector"] == node]
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert release.container[probe]["httpGet"]["port"] in ports
    volumes = {volume["name"] for volume in release.pod["volumes"]}
    assert {mount["name"] for mount in release.container["volumeMounts"]} <= volumes
    accounts = {account["metadata"]["name"] for account in release.all("ServiceAccount")}
    assert release.pod["serviceAccountName"] in accounts | {"events", "default"}
    for ingress in release.all("Ingress"):
        for rule in ingress["spec"]["rules"]:
            backend = rule["http"]["paths"][0]["backend"]["service"]
            assert backend == {"name": service["metadata"]["name"], "port": {"name": "http"}}


def test_no_container_has_more_rights_than_it_needs(release: Release) -> None:
    pods = [
        m["spec"]["template"]["spec"] for kind in ("Deployment", "StatefulSet") for m in release.all(kind)
    ]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_a_pod_outlives_the_drain(release: Release, values: Manifest) -> None:
    drain = values.get("drainSeconds", 20)
    assert release.pod["terminationGracePeriodSeconds"] == drain + 10
    hook = release.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    # The process ends within its drain and 2 s, and the hook's time counts too.
    assert hook + drain + 2 < release.pod["terminationGracePeriodSeconds"]


def test_notes_say_where_the_gateway_is(release: Release) -> None:
    assert "http" in release.notes
    assert "rollout status deployment/" in release.notes


def test_the_example_of_the_docs_renders(helm: Helm) -> None:
    text = (CHART.parents[1] / "docs" / "kubernetes.md").read_text()
    examples = [
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]
    assert [helm.render(values).one("Ingress")["kind"] for values in examples] == ["Ingress"]


def test_packages(tmp_path: Path) -> None:
    archive = helm_python.package(CHART, destination=tmp_path)
    with helm_python.Chart.load(archive) as chart:
        assert chart.render(read(VALUES[0]), name="demo")


def test_defaults_are_written_out_for_every_value(helm: Helm) -> None:
    """A value that the schema allows but values.yaml doesn't show would be a secret of the templates."""

    def unshown(schema: Manifest, shown: Manifest, path: str) -> list[str]:
        definition = schema.get("$ref", "").rpartition("/")[2]
        properties = (root["definitions"][definition] if definition else schema).get("properties", {})
        missing = [f"{path}{name}" for name in properties if name not in shown]
        for name, part in properties.items():
            if isinstance(shown.get(name), dict):
                missing += unshown(part, shown[name], f"{path}{name}.")
        return missing

    root = helm.chart.schema
    assert root is not None
    found = unshown(root, yaml.safe_load((CHART / "values.yaml").read_text()), "")
    free = ("global", "settings.", "resources.", "redis.bundled.resources.")
    assert [name for name in found if not name.startswith(free)] == []
