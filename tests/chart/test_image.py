"""Chart and Dockerfile agree; no image is built here."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from .conftest import CHART

if TYPE_CHECKING:
    from .conftest import Helm

ROOT = CHART.parents[1]
MINIMAL = {"replicas": 1, "insecure": True}


def instructions(name: str) -> list[str]:
    """The arguments of every ``name`` in the last stage of the Dockerfile."""
    stage = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[-1]
    return re.findall(rf"^{name} (.*)$", stage, flags=re.MULTILINE)


def test_the_chart_runs_the_user_of_the_image(helm: Helm) -> None:
    security = helm.render(MINIMAL).pod["securityContext"]
    assert instructions("USER") == [f"{security['runAsUser']}:{security['runAsGroup']}"]
    assert security["fsGroup"] == security["runAsGroup"]


def test_the_chart_uses_port_command_and_directory_of_the_image(helm: Helm) -> None:
    container = helm.render(MINIMAL).container
    assert instructions("EXPOSE") == [str(container["ports"][0]["containerPort"])]
    assert instructions("ENTRYPOINT") == ['["gateway"]']
    assert container["args"] == ["serve"]
    (directory,) = instructions("WORKDIR")
    assert directory in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_chart_is_for_this_version(helm: Helm) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert helm.chart.metadata["appVersion"] == version
    assert helm.render(MINIMAL).container["image"] == f"fanout-gateway:{version}"


def test_nothing_that_python_needs_to_run_is_in_no_stage() -> None:
    """Every path that the Dockerfile copies from the project is there, and not kept out of the build."""
    ignored = set((ROOT / ".dockerignore").read_text().split())
    for line in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE):
        base = ROOT if not line.startswith(("package", "client/")) else ROOT / "web"
        for source in line.split()[:-1]:
            assert (base / source).exists(), source
            assert source not in ignored
