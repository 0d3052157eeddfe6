"""The settings that reach a node are those of the values, and `gateway check` takes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.settings import Settings
from gateway.settings.declaration import LATER

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Helm, Manifest, Release

NAMED = re.compile(r'"env:(\w+)"')

# YAML has no way to say some characters as they are; of the controls, these are the ones that files hold.
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co", "Zl", "Zp"]) | st.sampled_from("\n\t\r"),
    max_size=20,
)
scalars = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | texts
lists = st.lists(scalars, max_size=3)
tables = st.dictionaries(texts.filter(bool), scalars | lists, max_size=4)
sections = st.dictionaries(
    texts.filter(bool), scalars | lists | tables | st.lists(tables, max_size=2), max_size=4
)


def environment(release: Release) -> dict[str, str]:
    """What a node's environment is, where every Secret holds something that will do."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    if release.container.get("envFrom"):
        found |= dict.fromkeys(NAMED.findall(release.toml), "s" * 40)
    for variable in release.container["env"]:
        name, value = variable["name"], variable.get("value", "s" * 40)
        if name == "REDIS_URL" and "value" not in variable:
            value = "rediss://:password@redis.example.com:6380/0"
        found[name] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], value)
    return found


def check(release: Release, file: Path) -> subprocess.CompletedProcess[str]:
    file.write_text(release.toml)
    return subprocess.run(
        [sys.executable, "-m", "gateway", "check"],
        env=environment(release) | {"GATEWAY_CONFIG": str(file)},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_gateway_check_takes_the_rendered_file(release: Release, tmp_path: Path) -> None:
    """All that it may find wrong is a section whose feature this version says it hasn't yet."""
    checked = check(release, tmp_path / "gateway.toml")
    missing = sorted(section for section in tomllib.loads(release.toml) if section in LATER)
    problems = [line for line in checked.stderr.splitlines() if "settings:" in line]
    assert [LATER[section] in "\n".join(problems) for section in missing] == [True] * len(missing)
    assert len(problems) == len(missing), checked.stderr
    assert checked.returncode == (2 if missing else 0), checked.stderr


def test_the_file_says_what_the_values_say(release: Release, values: Manifest) -> None:
    rendered = tomllib.loads(release.toml)
    server = rendered.pop("server")
    assert server["port"] == release.container["ports"][0]["containerPort"]
    assert server["host"] == values.get("listenAddress", "0.0.0.0")
    assert server["drain_seconds"] == values.get("drainSeconds", 20)
    assert server.get("insecure", False) == values.get("insecure", False)
    joined = bool(values.get("redis"))
    assert rendered.get("redis", {}).pop("url", None) == ("env:REDIS_URL" if joined else None)
    given_settings = {
        name: section for name, section in values.get("settings", {}).items() if name != "server"
    }
    for section in given_settings.values():
        if isinstance(section, dict):
            for key in [key for key, value in section.items() if value is None]:
                del section[key]
    assert {name: section for name, section in rendered.items() if section} == given_settings


def test_every_secret_that_is_named_can_be_there(release: Release) -> None:
    given_names = {variable["name"] for variable in release.container["env"]}
    assert release.container.get("envFrom") or set(NAMED.findall(release.toml)) <= given_names


def test_other_settings_roll_the_pods(helm: Helm) -> None:
    def checksum(limits: dict[str, Any]) -> str:
        release = helm.render({"replicas": 1, "insecure": True, "settings": {"limits": limits}})
        return release.one("Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]

    assert checksum({"topic_levels": 8}) != checksum({"topic_levels": 9})
    assert checksum({"topic_levels": 8}) == checksum({"topic_levels": 8})


def test_the_schema_knows_every_section(helm: Helm) -> None:
    assert helm.chart.schema is not None
    known = set(helm.chart.schema["properties"]["settings"]["properties"])
    assert set(Settings.model_fields) <= known
    assert known <= set(Settings.model_fields) | set(LATER)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(section=sections, hooks=st.lists(tables, max_size=2))
def test_whatever_the_values_hold_is_written_as_toml(
    helm: Helm, section: dict[str, Any], hooks: list[dict[str, Any]]
) -> None:
    release = helm.render({"replicas": 1, "insecure": True, "settings": {"limits": section, "hooks": hooks}})
    rendered = tomllib.loads(release.toml)
    assert rendered.get("limits", {}) == section
    assert rendered.get("hooks", []) == hooks
