"""The chart, rendered by Helm's own engine for each file of ``values/``; no cluster is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = Path(__file__).parents[2] / "helm" / "fanout-gateway"
VALUES = sorted((Path(__file__).parent / "values").glob("*.yaml"))

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """What one set of values becomes."""

    name: str
    manifests: tuple[Manifest, ...]
    notes: str

    def all(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str) -> Manifest:
        (manifest,) = self.all(kind)
        return manifest

    @property
    def pod(self) -> Manifest:
        """The pod of a node."""
        return self.one("Deployment")["spec"]["template"]["spec"]

    @property
    def container(self) -> Manifest:
        (container,) = self.pod["containers"]
        return container

    @property
    def toml(self) -> str:
        return self.one("ConfigMap")["data"]["gateway.toml"]


class Helm:
    """Renders and lints the chart."""

    def __init__(self, chart: helm_python.Chart) -> None:
        self.chart = chart

    def render(self, values: Manifest, name: str = "demo") -> Release:
        texts = self.chart.render(values, name=name, namespace="events")
        manifests = [
            document
            for path, text in sorted(texts.items())
            if not path.endswith("NOTES.txt")
            for document in yaml.safe_load_all(text)
            if document
        ]
        return Release(name, tuple(manifests), texts["fanout-gateway/templates/NOTES.txt"])

    def refusals(self, values: Manifest) -> list[str]:
        """What the chart says when it refuses these values, one text each."""
        with pytest.raises(helm_python.HelmRenderError) as refused:
            self.render(values)
        return str(refused.value).strip().split("\n- ")[1:]


@pytest.fixture(scope="session")
def helm() -> Iterator[Helm]:
    with helm_python.Chart.load(CHART) as chart:
        yield Helm(chart)


def read(file: Path) -> Manifest:
    return yaml.safe_load(file.read_text()) or {}


@pytest.fixture(params=VALUES, ids=lambda file: file.stem)
def values(request: pytest.FixtureRequest) -> Manifest:
    """One set of values after the other."""
    return read(request.param)


@pytest.fixture
def release(helm: Helm, values: Manifest) -> Release:
    return helm.render(values)
