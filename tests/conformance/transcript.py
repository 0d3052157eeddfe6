"""Wire transcripts: what clients send and must get, as plain text.

    % limits.message_bytes = 1000      settings of the gateway (TOML), or ``way = "direct"``: only there
    name> {"op":"ping"}                client ``name`` (may be empty) sends a text frame
    name>hex ff                        … a text frame of these bytes
    name>binary {"op":"ping"}          … a binary frame
    name< {"op":"pong","ref":"…"}      the next frame it gets; ``…`` stands for any value or any text
    name< close 4400                   its connection is closed with this code

In what is sent ``{{x*3}}`` stands for ``xxx``. In what is expected a field whose value is ``?`` may be
missing. A client connects where it is first named; at the end none may have anything unread.
"""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

_LINE = re.compile(r"(\w*)(>hex|>binary|>|<) ?(.*)")
_REPEATED = re.compile(r"\{\{(.*?)\*(\d+)\}\}")


@dataclass(frozen=True)
class Step:
    number: int
    client: str
    action: str
    text: str


@dataclass(frozen=True)
class Transcript:
    name: str
    settings: str
    way: str | None
    steps: tuple[Step, ...]


def read_transcript(path: Path) -> Transcript:
    settings: list[str] = []
    steps: list[Step] = []
    way = None
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if line.startswith("% way"):
            way = tomllib.loads(line[2:])["way"]
        elif line.startswith("%"):
            settings.append(line[2:])
        elif line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            assert match is not None, f"{path.name}:{number}: not a line of a transcript"
            steps.append(Step(number, *match.groups()))
    return Transcript(path.stem, "\n".join(settings), way, tuple(steps))


async def replay(transcript: Transcript, url: str) -> None:
    async with AsyncExitStack() as stack:
        clients: dict[str, ClientConnection] = {}
        closed: set[str] = set()
        for step in transcript.steps:
            if step.client not in clients:
                clients[step.client] = await stack.enter_async_context(_connect(url))
            where = f"{transcript.name}.txt:{step.number}"
            with anyio.fail_after(HANG_SECONDS):
                await _take(step, clients[step.client], where)
            if step.text.startswith("close "):
                closed.add(step.client)
        for name, client in clients.items():
            if name not in closed:
                await _expect_nothing(client, f"{transcript.name}.txt: at the end {name!r}")


def _connect(url: str) -> connect:
    return connect(url, max_size=None, open_timeout=HANG_SECONDS, ping_interval=None)


async def _take(step: Step, client: ClientConnection, where: str) -> None:
    if step.action == ">hex":
        await client.send(bytes.fromhex(step.text), text=True)
    elif step.action == ">binary":
        await client.send(step.text.encode())
    elif step.action == ">":
        await client.send(_REPEATED.sub(lambda match: match[1] * int(match[2]), step.text))
    elif step.text.startswith("close "):
        code = await _close_code(client, where)
        assert code == int(step.text.removeprefix("close ")), where
    else:
        got = json.loads(await client.recv())
        assert agrees(json.loads(step.text), got), f"{where}: {step.text}\ngot {got}"


async def _close_code(client: ClientConnection, where: str) -> int | None:
    try:
        got = await client.recv()
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd is not None else None
    raise AssertionError(f"{where}: no close but {got!r}")


async def _expect_nothing(client: ClientConnection, where: str) -> None:
    await client.send('{"op":"ping","ref":"the end"}')
    with anyio.fail_after(HANG_SECONDS):
        got = json.loads(await client.recv())
    assert got.get("ref") == "the end", f"{where} gets {got}"


def agrees(expected: Any, got: Any) -> bool:
    """Whether ``got`` is what a transcript's line expects."""
    if isinstance(expected, str) and isinstance(got, str):
        return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), got, re.DOTALL) is not None
    if expected == "…":
        return True
    if isinstance(expected, dict) and isinstance(got, dict):
        optional = {name for name, value in expected.items() if value == "?"}
        if not expected.keys() - optional <= got.keys() <= expected.keys():
            return False
        return all(name in optional or agrees(expected[name], value) for name, value in got.items())
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(agrees, expected, got))
    return type(expected) is type(got) and expected == got
