"""Measure how easily things are found in the package `gateway`: `make structure`.

Prints sizes of files and functions, cycles between modules, class names defined twice, how many lines are
comments, and how many files four journeys enter: a published message, a subscribe command, an appended
publication, and a client that comes back. The journeys are driven through a real server and a real client;
what is entered by chance (a tick of the clock) is left out by making each a few times. ``--files`` names
them.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import tokenize
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.app import node as app
from gateway.app import process
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gateway"
ROUNDS = 5
# Shapes of a wire format and tables of settings are named after what they carry.
SHAPES = ("gateway/settings/", "gateway/codecs/")


def modules() -> dict[str, Path]:
    """Every module of the package, by its full name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def spread(label: str, sizes: list[tuple[int, str]]) -> str:
    """Median, ninetieth percentile and longest of ``sizes``, in lines."""
    lines = sorted(size for size, _ in sizes)
    longest, where = max(sizes)
    ninetieth = lines[int(len(lines) * 0.9)]
    middle = f"median {statistics.median(lines):g}, p90 {ninetieth}"
    return f"{label:<28} {len(lines):>5}  {middle}, longest {longest} ({where})"


def functions(path: Path, tree: ast.Module) -> list[tuple[int, str]]:
    """Lines of each function, with where it stands."""
    return [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.name}")
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def imported(path: Path, tree: ast.Module, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports, also for annotations alone."""
    package = path.parent.relative_to(ROOT).parts
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            whole = {f"{module}.{alias.name}" for alias in node.names} & known.keys()
            found |= whole or {module}
    return found & known.keys()


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(edges.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in sorted(edges):
        if node not in index:
            visit(node)
    return found


def comment_lines(path: Path) -> int:
    """Lines that hold a comment with a reason in it, not a note to a tool."""
    with path.open("rb") as file:
        return sum(
            token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:", "#!"))
            for token in tokenize.tokenize(file.readline)
        )


def read_the_code() -> None:
    """Print what can be said without running anything."""
    known = modules()
    files, all_functions, edges = [], [], {}
    classes: dict[str, list[str]] = defaultdict(list)
    code = comments = 0
    for name, path in known.items():
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        files.append((text.count("\n"), str(path.relative_to(ROOT))))
        all_functions += functions(path, tree)
        edges[name] = imported(path, tree, known) - {name}
        comments += comment_lines(path)
        code += sum(bool(line.strip()) for line in text.splitlines())
        if not str(path.relative_to(ROOT)).startswith(SHAPES):
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    classes[node.name].append(str(path.relative_to(ROOT)))
    twice = {name: places for name, places in classes.items() if len(places) > 1}
    print(spread("files", files))
    print(spread("functions", all_functions))
    groups = cycles(edges)
    print(f"{'cycles':<28} {len(groups):>5}  {'; '.join(' + '.join(group) for group in groups)}")
    print(f"{'class names defined twice':<28} {len(twice):>5}  {', '.join(sorted(twice))}")
    print(f"{'comment lines per 100':<28} {100 * comments / code:>5.1f}")


class Journeys:
    """Which files of the package are entered while something happens."""

    def __init__(self) -> None:
        self._entered: set[str] | None = None
        self._prefix = str(PACKAGE) + os.sep

    def hook(self, frame: object, event: str, _argument: object) -> None:
        """``sys.setprofile``'s callback."""
        if event == "call" and self._entered is not None:
            name = frame.f_code.co_filename  # type: ignore[attr-defined]
            if name.startswith(self._prefix):
                self._entered.add(name.removeprefix(self._prefix))

    @contextlib.contextmanager
    def watch(self, into: list[set[str]]) -> Iterator[None]:
        """Add to ``into`` the files entered meanwhile."""
        self._entered = set()
        yield
        into.append(self._entered)
        self._entered = None


class Client:
    """A WebSocket client that knows frames and nothing of the package."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._data += self._socket.recv(65536)
        self._data = self._data.partition(b"\r\n\r\n")[2]
        self.until("welcome")

    def send(self, **command: object) -> None:
        """Send one command, masked with zeros."""
        body = json.dumps(command, separators=(",", ":")).encode()
        length = len(body)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        self._socket.sendall(b"\x81" + size + bytes(4) + body)

    def until(self, op: str) -> dict[str, object]:
        """The next frame with this ``op``; what comes before is skipped."""
        while True:
            frame = json.loads(self._frame())
            assert frame["op"] != "error", frame
            if frame["op"] == op:
                return frame

    def _frame(self) -> bytes:
        head = self._bytes(2)
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._bytes(2 if size == 126 else 8), "big")
        return self._bytes(size)

    def _bytes(self, count: int) -> bytes:
        while len(self._data) < count:
            self._data += self._socket.recv(65536)
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def travel(port: int, journeys: Journeys, found: dict[str, list[set[str]]]) -> None:
    """Make each journey a few times."""
    for number in range(ROUNDS):
        listener, publisher = Client(port), Client(port)
        with journeys.watch(found["a subscribe command"]):
            listener.send(op="subscribe", filter=f"live/{number}", ref=1)
            listener.until("subscribed")
        listener.send(op="subscribe", filter="kept/#", ref=2)
        listener.until("subscribed")
        # Nearly every message is one on a topic that was published to before.
        for topic in (f"live/{number}", "kept/a"):
            publisher.send(op="publish", topic=topic, data=number)
            listener.until("message")
        with journeys.watch(found["a published message"]):
            publisher.send(op="publish", topic=f"live/{number}", data=number)
            listener.until("message")
        with journeys.watch(found["an appended publication"]):
            publisher.send(op="publish", topic="kept/a", data=number, ref=3)
            publisher.until("published")
            position = listener.until("message")
        listener.close()
        epoch = publisher_epoch(publisher)
        with journeys.watch(found["a resume"]):
            publisher.send(
                op="subscribe",
                filter="kept/#",
                resume={"kept": {"epoch": epoch, "offset": int(str(position["offset"])) - 1}},
            )
            publisher.until("caught_up")
        publisher.close()


def publisher_epoch(client: Client) -> str:
    """The stream's epoch, as a subscription tells it."""
    client.send(op="subscribe", filter="kept/epoch", ref=4)
    return client.until("subscribed")["positions"]["kept"]["epoch"]  # type: ignore[index, return-value]


def run_the_journeys() -> None:
    """Print how many files each journey enters."""
    settings = Settings(
        server={"console": False, "log_level": "error", "port": 0},
        store={"url": "memory:"},
        streams=[{"name": "kept", "filter": "kept/#"}],
    )
    journeys = Journeys()
    found: dict[str, list[set[str]]] = defaultdict(list)
    failed: list[BaseException] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def drive() -> None:
        try:
            travel(listener.getsockname()[1], journeys, found)
        except BaseException as exc:  # noqa: BLE001 - told below
            failed.append(exc)
        os.kill(os.getpid(), signal.SIGTERM)

    started = threading.Event()

    def alive() -> None:
        if not started.is_set():
            started.set()
            asyncio.get_running_loop().call_soon(sys.setprofile, journeys.hook)
            threading.Thread(target=drive).start()

    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        process.configure(settings)
        app.GatewayNode(settings).run(sockets=[listener], alive=alive)
    sys.setprofile(None)
    if failed:
        raise failed[0]
    for name, rounds in found.items():
        files = set.intersection(*rounds)
        print(f"{name:<28} {len(files):>5}  files")
        if "--files" in sys.argv:
            print(*(f"    {each}" for each in sorted(files)), sep="\n")


if __name__ == "__main__":
    read_the_code()
    run_the_journeys()
