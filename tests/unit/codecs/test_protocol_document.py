"""docs/protocol.md says what the code does: its tables and its examples are read here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import errors
from gateway.codecs import gateway_v1, gateway_v1_client, gateway_v1_commands
from gateway.codecs.gateway_v1 import GatewayV1
from gateway.core.session.close_codes import CloseCode

TEXT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()


def section(title: str) -> str:
    return re.split(rf"^#+ {title}$", TEXT, flags=re.MULTILINE)[1].split("\n## ")[0]


def first_column(title: str) -> set[str]:
    cells = re.findall(r"^\| ([^|]*[^| -][^|]*) \|", section(title).split("\n### ")[0], flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`|^(\d+)", cell) for name in name if name}


def every_code(tree: type[errors.GatewayError]) -> set[str]:
    return {tree.code}.union(*map(every_code, tree.__subclasses__()))


def op_of(row: object) -> str:
    return re.sub(r"^_", "", row.__name__)


def test_commands():
    assert first_column("Client to gateway") == {op for op, _ in gateway_v1_commands._ROWS.values()}


def test_events():
    told = {op_of(row) for row in gateway_v1._ROWS.values()} | {"message", "delivery"}
    assert first_column("Gateway to client") == told == set(gateway_v1_client._READERS)


def test_error_codes():
    assert first_column("Errors") == every_code(errors.GatewayError)


def test_close_codes():
    documented = {
        int(code): not reconnect.startswith("no") and "credential" not in reconnect
        for codes, reconnect in re.findall(
            r"^\| ([\d, ]+) \|.*\| ([^|]*) \|$", section("Close codes"), re.MULTILINE
        )
        for code in codes.split(", ")
    }
    assert {code.value: code.reconnect for code in CloseCode}.items() <= documented.items()


@pytest.mark.parametrize("frame", [line[2:] for line in TEXT.splitlines() if line.startswith("→ ")])
def test_the_examples_of_commands_are_commands(frame):
    assert GatewayV1().decode(frame.encode())


@pytest.mark.parametrize("frame", [line[2:] for line in TEXT.splitlines() if line.startswith("← ")])
def test_the_examples_of_events_are_events(frame):
    assert gateway_v1_client.decode_event(frame.replace("{…}", "{}")) is not None
