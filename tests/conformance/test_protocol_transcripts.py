"""``gateway.v1`` as on the wire, the same over every way out: one plain file for each subject."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .transcript import Transcript, agrees, read_transcript, replay

if TYPE_CHECKING:
    from tests.integration.conftest import RunningGateway, StartGateway

FOLDER = Path(__file__).with_name("transcripts")
TRANSCRIPTS = [read_transcript(path) for path in sorted(FOLDER.glob("*.txt"))]
CASES = [
    pytest.param(transcript, way, id=f"{transcript.name}-{way}")
    for transcript in TRANSCRIPTS
    for way in ("direct", "asgi")
    if transcript.way in {None, way}
]


@pytest.fixture(scope="module")
def gateways(module_gateway_process: StartGateway) -> dict[tuple[str, str], RunningGateway]:
    """The gateways that run, by settings and way: transcripts with equal settings share one."""

    class Gateways(dict[tuple[str, str], "RunningGateway"]):
        def __missing__(self, key: tuple[str, str]) -> RunningGateway:
            self[key] = module_gateway_process(key[0], way=key[1])
            return self[key]

    return Gateways()


@pytest.mark.parametrize(("transcript", "way"), CASES)
async def test_transcript(gateways, transcript: Transcript, way: str) -> None:
    await replay(transcript, gateways[transcript.settings, way].ws_url)


def test_expectations_are_strict() -> None:
    assert agrees({"a": "x…z", "b": [1, None]}, {"a": "xyz", "b": [1, None]})
    assert agrees({"a": "…"}, {"a": 5})
    assert agrees({"a": 1, "ref": "?"}, {"a": 1})
    assert not agrees({"a": 1}, {"a": True})
    assert not agrees({"a": 1}, {"a": 1, "b": 2})
    assert not agrees({"a": 1, "b": 2}, {"a": 1})
    assert not agrees({"a": "x…z"}, {"a": "x"})
    assert not agrees([1], [1, 2])
