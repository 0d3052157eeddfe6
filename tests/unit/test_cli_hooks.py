from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.http_api.webhooks.presets import preset_names, read_preset

SECRET = "s3cret of the shop"
SETTINGS = """
[[hooks]]
name = "shop"
scheme = "shopify"
secret = "env:SHOP_SECRET"
topic = "shop/{body.kind}"

[[hooks]]
name = "rolls"
scheme = "discord"
public_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
topic = "rolls"
"""


@pytest.fixture(autouse=True)
def _configured(unconfigured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    Path("gateway.toml").write_text(SETTINGS, encoding="utf-8")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["hooks", *arguments])


def test_all_presets_are_listed_with_page_day_and_needs() -> None:
    heading, *lines = run("presets").stdout.splitlines()
    assert heading.split() == ["NAME", "SENDER", "NEEDS", "READ", "PAGE"]
    assert [line.split()[0] for line in lines] == list(preset_names())
    for line, name in zip(lines, preset_names(), strict=True):
        preset = read_preset(name)
        assert preset.title in line
        assert line.endswith(preset.page)
        assert all(need in line for need in preset.needs)
        assert (str(preset.read) if preset.read else " - ") in line


def test_presets_as_json_say_where_they_are_from_instead() -> None:
    found = {each["name"]: each for each in map(json.loads, run("presets", "--json").stdout.splitlines())}
    assert set(found) == set(preset_names())
    assert all(each["read"] or each["instead"] for each in found.values())
    assert found["github"]["topic"] == read_preset("github").settings["topic"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "no hook 'nobody' is configured here; there are shop, rolls"),
        (["rolls"], "only the sender has the private key"),
        (["shop", "--file", "absent.json"], "--file absent.json: No such file"),
        (["shop", "--header", "x-nothing"], "--header 'x-nothing': give it as NAME=VALUE"),
        (["shop", "--header", "x y=1"], "--header 'x y=1': give it as NAME=VALUE"),
        (["shop", "--header", "x-y=1\n2"], "header x-y: it would hold a line break"),
        (["shop", "--config", "absent.toml"], "absent.toml: there is no such file"),
    ],
)
def test_what_can_t_be_tried_ends_with_2(arguments: list[str], words: str) -> None:
    result = run("test", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert SECRET not in result.output


def test_a_hook_that_can_t_work_is_named() -> None:
    Path("gateway.toml").write_text(SETTINGS.replace("shopify", "shopfy"), encoding="utf-8")
    result = run("test", "shop")
    assert result.exit_code == 2
    assert "hooks[0]: hook 'shop': unknown scheme 'shopfy'" in result.stderr


def test_no_gateway_ends_with_3() -> None:
    result = run("test", "shop", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 3
    assert SECRET not in result.output
