"""The console is looked for where it is built, and a page says how to get it where it isn't there."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.testclient import TestClient

import gateway
from gateway.transports.server.console import DIRECTORY, console_routes


def test_the_console_is_looked_for_where_the_build_puts_it() -> None:
    assert Path(gateway.__file__).parent / "console" == DIRECTORY


def test_without_a_console_a_page_says_how_to_get_it(tmp_path: Path) -> None:
    client = TestClient(Starlette(routes=list(console_routes(tmp_path))))
    answer = client.get("/")
    assert "its console was not built" in answer.text
