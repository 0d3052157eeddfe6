"""docs/webhooks.md, "By sender", tells of every preset what the preset says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.http_api.webhooks.presets import preset_names, read_preset

PAGE = (Path(__file__).parents[4] / "docs/webhooks.md").read_text("utf-8")
BY_SENDER = PAGE.partition("\n## By sender\n")[2].partition("\n## ")[0]
TABLE, *SECTIONS = BY_SENDER.split("\n### ")


def section_of(name: str) -> str:
    return next(each for each in SECTIONS if each.partition("\n")[0].endswith(f"`{name}`"))


def test_the_table_has_a_row_for_each_preset_in_order():
    _, *rows = [line for line in TABLE.splitlines() if line.startswith("| `")]
    expected = []
    for name in preset_names():
        preset = read_preset(name)
        needs = ", ".join(f"`{need}`" for need in preset.needs) or "`secret` or `public_key`"
        topic = preset.settings["topic"].replace("|", "\\|")
        expected.append(f"| `{name}` | [{preset.title}]({preset.page}) | {needs} | `{topic}` |")
    assert rows == expected


def test_there_is_a_section_for_each_preset_in_order():
    headings = [section.partition("\n")[0] for section in SECTIONS]
    assert headings == [f"{read_preset(name).title}: `{name}`" for name in preset_names()]


@pytest.mark.parametrize("name", preset_names())
def test_a_section_tells_what_to_do_there_and_here(name):
    there, here = re.search(r"\n\nThere: (.*)\n\nHere: (.*)", section_of(name), re.DOTALL).groups()
    assert there.strip()
    needed = read_preset(name).needs or ("secret", "public_key")
    assert all(f"`{need}`" in here for need in needed)
    # Every option that it names exists.
    schemes = re.findall(r'scheme = "(\w+)"', here)
    assert set(schemes) <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_who_signs_the_url_is_told_so(name):
    signed = read_preset(name).settings.get("signed", [])
    schemes = [signed] if isinstance(signed, dict) else signed
    signs_the_url = any("{url" in each.get("content", "") for each in schemes)
    assert signs_the_url == ("`public_url`" in section_of(name))
