from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.settings import InvalidSettings, Settings, is_loopback, read
from gateway.settings.listing import effective, listed, reference
from gateway.settings.section import section_in
from gateway.settings.values import format_duration, format_size, parse_duration, parse_size

from .settings_file import problems, write

pytestmark = pytest.mark.usefixtures("unconfigured")

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
HOOK = '[[hooks]]\nname = "a"\nscheme = "github"\nsecret = "env:HOOK_SECRET"\ntopic = "t"\n'


# --- Sources and precedence


def test_nothing_configured_is_complete() -> None:
    assert read().settings == Settings()


def test_defaults_are_those_of_the_design() -> None:
    limits = Settings().limits
    assert (limits.message_bytes, limits.frame_bytes, limits.outbox_bytes) == (65536, 131072, 1048576)
    assert (limits.write_timeout, limits.stalled_timeout, limits.ping_interval) == (30.0, 600.0, 25.0)
    assert (Settings().server.host, Settings().server.port) == ("127.0.0.1", 8080)


def test_flags_win_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[server]\nhost = "::1"\nport = 1\ndrain_seconds = 3\n')
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "2")
    monkeypatch.setenv("GATEWAY_SERVER__DRAIN_SECONDS", "4s")
    loaded = read(flags={"server.port": ("--port", 5), "server.host": ("--host", None)})
    server = loaded.settings.server
    assert (server.host, server.port, server.drain_seconds, server.workers) == ("::1", 5, 4.0, 1)
    assert loaded.names["server.port"] == "--port"
    assert loaded.names["server.drain_seconds"] == "GATEWAY_SERVER__DRAIN_SECONDS"
    assert loaded.names["server.host"] == "gateway.toml"
    assert "server.workers" not in loaded.names


def test_the_file_is_that_of_the_flag_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[server]\nport = 1\n")
    Path("two.toml").write_text("[server]\nport = 2\n", encoding="utf-8")
    Path("three.toml").write_text("[server]\nport = 3\n", encoding="utf-8")
    assert read().settings.server.port == 1
    monkeypatch.setenv("GATEWAY_CONFIG", "two.toml")
    assert read().settings.server.port == 2
    assert read(Path("three.toml")).settings.server.port == 3


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(InvalidSettings, match=r"no\.toml: there is no such file"):
        read(Path("no.toml"))


@pytest.mark.parametrize("content", [b"[server\n", b"port = = 3", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(content: bytes) -> None:
    Path("gateway.toml").write_bytes(content)
    with pytest.raises(InvalidSettings, match=r"gateway\.toml: not valid TOML"):
        read()


def test_lists_in_the_environment_are_comma_separated_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ORIGINS__ALLOW", "https://a.example, http://b:81")
    assert read().settings.origins.allow == ("https://a.example", "http://b:81")
    monkeypatch.setenv("GATEWAY_ORIGINS__ALLOW", '["https://A.example"]')
    assert read().settings.origins.allow == ("https://a.example",)
    monkeypatch.setenv("GATEWAY_ORIGINS__ALLOW", "[nonsense")
    assert "GATEWAY_ORIGINS__ALLOW: origins.allow" in problems()


def test_hooks_can_be_given_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S", "x")
    monkeypatch.setenv("GATEWAY_HOOKS", '[{"name": "a", "scheme": "slack", "secret": "env:S", "topic": "t"}]')
    assert [hook.name for hook in read().settings.hooks] == ["a"]


def test_made_directly_settings_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[server]\nport = 1\n")
    monkeypatch.setenv("GATEWAY_SERVER__PORT", "2")
    assert Settings().server.port == 8080


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().server.port = 1  # type: ignore[misc]


# --- Reading again


def test_what_is_read_again_is_what_the_same_places_say() -> None:
    write("[limits]\nmessage_bytes = 5\n")
    given = {"console": {"mask": ["$.a"]}}
    settings = read(override=given, flags={"server.port": ("--port", 9)}).settings
    assert settings.read_again() == settings
    write("[limits]\nmessage_bytes = 6\n[console]\nmask = ['$.b']\n")
    again = settings.read_again()
    assert again is not None
    assert (again.limits.message_bytes, again.server.port, again.console.mask) == (6, 9, ("$.a",))


def test_a_file_that_was_there_must_be_there_again() -> None:
    """Without it all would be as if nothing had been set: a mask, for one, would be off."""
    write("[console]\nmask = ['$.a']\n")
    settings = read().settings
    Path("gateway.toml").unlink()
    with pytest.raises(InvalidSettings, match=r"gateway\.toml: there is no such file"):
        settings.read_again()


def test_a_pipe_is_not_read_again() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"[console]\nmask = ['$.a']\n")
    os.close(writing)
    settings = read(Path(f"/dev/fd/{reading}")).settings
    assert settings.console.mask == ("$.a",)
    with pytest.raises(InvalidSettings, match="can't be read again"):
        settings.read_again()
    os.close(reading)


# --- Mistakes


def test_every_mistake_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LIMITS__FRAME_BITES", "1")
    monkeypatch.setenv("GATEWAY_LIMTS__JSON_DEPTH", "1")
    text = problems('[server]\nprot = 1\nport = "x"\n[auth]\nmode = "sometimes"\n')
    assert "gateway.toml: unknown key 'prot' in [server]; did you mean port?" in text
    assert "gateway.toml: server.port = 'x': should be a valid integer" in text
    assert (
        "GATEWAY_LIMITS__FRAME_BITES: unknown key 'frame_bites' in [limits]; did you mean frame_bytes?"
        in text
    )
    assert "GATEWAY_LIMTS__JSON_DEPTH: unknown key 'limts'; did you mean limits?" in text
    assert "gateway.toml: auth.mode = 'sometimes': should be 'none', 'required' or 'optional'" in text
    assert len(text.splitlines()) == 5


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("[streams]\nname = 'a'", "streams: should be a list of tables, each [[streams]]"),
        ("[auth.keys]\nkid = 'a'", "auth.keys: should be a list of tables, each [[auth.keys]]"),
        (
            "[[streams]]\nname = 'a'\nfilter = 'a'\ngroups.name = 'b'",
            "streams[0].groups: should be a list of tables, each [[streams.groups]]",
        ),
        ("streams = ['a']", "streams[0]: should be a table"),
        ("[[server]]\nport = 1", "server: should be a table"),
        ("[origins]\nallow = 5", "origins.allow: should be a list"),
        ("[server]\nconsole = 'maybe'", "server.console = 'maybe': should be true or false"),
        (
            "[[hooks]]\nname = 'a'\nscheme = 'custom'\nsigned = 'x'",
            "hooks[0].signed: should be a list of tables, each [[hooks.signed]]",
        ),
        ("[cloudevents]\ntopic = 5", "cloudevents.topic = 5: should be a text"),
    ],
)
def test_shapes_are_called_as_the_file_calls_them(text: str, rule: str) -> None:
    assert f"gateway.toml: {rule}" in problems(text).splitlines()[-1]


def test_a_flag_is_named() -> None:
    assert "--server__port: server.port = 99999: should be less than or equal to 65535" in problems(
        server__port=99999
    )


@pytest.mark.parametrize("value", ["4.9", '"1s"'])
def test_a_busy_worker_is_not_taken_for_a_hung_one(value: str) -> None:
    assert "must be 0 or at least 5 s" in problems(f"[server]\nhang_timeout = {value}\n")
    for seconds in (0, 5):
        assert Settings(server={"hang_timeout": seconds}).server.hang_timeout == seconds


def test_a_redis_url_is_checked_but_never_repeated() -> None:
    text = problems(redis__url="http://u:hidden@h")
    assert "--redis__url: redis.url: is not a Redis URL" in text
    assert "hidden" not in text


@pytest.mark.parametrize("url", ["redis://:hidden@h:1/0", "env:THE_URL"])
def test_a_redis_url_may_be_a_secret_and_is_masked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_URL", "redis://:hidden@h:1/0")
    loaded = read(flags={"redis.url": ("--redis", url)})
    assert loaded.settings.redis.url is not None
    assert loaded.settings.redis.url.get_secret_value() == "redis://:hidden@h:1/0"
    assert "hidden" not in effective(loaded) + repr(loaded.settings)
    assert "hidden" in loaded.settings.secret_texts()


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("redis://u:hidden@h/0", {"hidden"}),
        ("redis://:hid%40den@h/0", {"hid%40den", "hid@den"}),
        ("redis://u:hid@den@h/0", {"hid@den"}),
        ("redis://u:hid:den@h/0", {"hid:den"}),
        ("redis://h/0?db=1&password=hid%20den", {"hid%20den", "hid den"}),
        ("redis+sentinel://:one@a:1,b:2/m?sentinel_password=two", {"one", "two"}),
        ("unix:///redis.sock?password=hidden", {"hidden"}),
        ("redis+cluster://:hidden@a:1,b:2", {"hidden"}),
    ],
)
def test_passwords_of_a_redis_url_are_masked_in_every_form(url: str, passwords: set[str]) -> None:
    assert set(Settings(redis={"url": url}).secret_texts()) == {url, *passwords}


@pytest.mark.parametrize(
    "url", ["redis://h:1/0", "redis://user@h", "unix:///redis.sock?db=1", "redis://u:@h"]
)
def test_a_redis_url_without_a_password_is_no_secret(url: str) -> None:
    assert Settings(redis={"url": url}).secret_texts() == ()


def test_variables_of_an_orchestrator_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("GATEWAY_SERVICE_HOST", "10.0.0.1")
    assert read().settings == Settings()


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ("frame_bytes = 100", "frame_bytes (100) must be at least message_bytes (65536)"),
        ("outbox_bytes = 131072", "outbox_bytes (131072) must be at least twice frame_bytes (131072)"),
        ("batch_bytes = 1", "batch_bytes (1) must be at least message_bytes (65536)"),
        ("stalled_timeout = 1", "stalled_timeout (1.0) must be at least write_timeout (30.0)"),
        ("json_depth = 1001", "less than or equal to 1000"),
        ("json_depth = 0", "greater than 0"),
        ("topic_levels = true", "must be a number"),
        ("write_timeout = 0", "greater than 0"),
        ("ping_interval = 'soon'", "a time is a number of seconds"),
        ("message_bytes = '1.5B'", "a size is a whole number of bytes"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: str, rule: str) -> None:
    assert rule in problems(f"[limits]\n{limits}\n")


@pytest.mark.parametrize("origin", ["https://a/b", "a.example", "ftp://a", "https://a/", "*"])
def test_an_origin_has_scheme_host_and_port_only(origin: str) -> None:
    assert "is not an origin" in problems(f'[origins]\nallow = ["{origin}"]\n')


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_flag(host: str) -> None:
    assert is_loopback(host)
    assert Settings(server={"host": host}).server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example"])
def test_beyond_loopback_it_must_be_said(host: str) -> None:
    text = problems(f'[server]\nhost = "{host}"\n')
    assert f"server.host {host!r}" in text
    assert "--insecure" in text
    assert Settings(server={"host": host, "insecure": True}).server.host == host


@pytest.mark.parametrize("workers", [0, 257])
def test_there_are_1_to_256_workers(workers: int) -> None:
    assert f"server.workers = {workers}" in problems(f"[server]\nworkers = {workers}\n")
    assert Settings(server={"workers": 256}).server.workers == 256


# --- Hooks and secrets


def test_a_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    write(HOOK)
    settings = read().settings
    assert settings.secret_texts() == ("hunter2",)
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())


@pytest.mark.parametrize(
    ("content", "secret"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a", " a"), ("ü", "ü")]
)
def test_a_secret_comes_from_a_file_without_its_last_newline(content: str, secret: str) -> None:
    Path("secret").write_bytes(content.encode())
    write(HOOK.replace("env:HOOK_SECRET", "file:secret"))
    assert read().settings.secret_texts() == (secret,)


def test_several_secrets_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEW", "n")
    monkeypatch.setenv("OLD", "o")
    write(HOOK.replace('"env:HOOK_SECRET"', '["env:NEW", "env:OLD"]'))
    assert read().settings.secret_texts() == ("n", "o")


@pytest.mark.parametrize(
    "value",
    ['"hunter2"', '"hunter2:x"', '["env:PATH", "hunter2"]', '{hunter2 = "hunter2"}', '"env:hunter2=x"'],
)
def test_a_secret_written_out_is_refused_and_not_repeated(value: str) -> None:
    text = problems(HOOK.replace('"env:HOOK_SECRET"', value))
    assert "gateway.toml: hooks[0].secret" in text
    assert "hunter2" not in text


def test_who_signs_in_by_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "x")
    # Twilio signs it with the user and the password that it calls.
    write(HOOK + 'public_url = "https://ann:hunter2@gateway.example/v1/hooks/a?by=ann@example"\n')
    loaded = read()
    shown = effective(loaded), repr(listed(loaded.settings, loaded.names))
    assert all("https://***@gateway.example/v1/hooks/a?by=ann@example" in text for text in shown)
    assert not any("hunter2" in text for text in shown)


@pytest.mark.parametrize(
    "value", ['"hunter2"', '{"secret": "hunter2"', '[{"secret": "hunter2"}, 5, "hunter2"]']
)
def test_nor_in_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_HOOKS", value)
    text = problems()
    assert "GATEWAY_HOOKS" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("reference_", "reason"),
    [
        ("env:NOT_THERE", "there is no environment variable NOT_THERE"),
        ("env:EMPTY", "the secret in env:EMPTY is empty"),
        ("file:not-there", "the file 'not-there' can't be read: No such file or directory"),
        ("file:.", "the file '.' can't be read: Is a directory"),
        ("file:binary", "the file 'binary' is not UTF-8 text"),
        ("file:big", "the file 'big' is over 64 KiB"),
    ],
)
def test_a_secret_that_cannot_be_had_is_named(
    reference_: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "")
    Path("binary").write_bytes(b"\xff")
    Path("big").write_bytes(b"x" * 65537)
    assert reason in problems(HOOK.replace("env:HOOK_SECRET", reference_))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("github", "none"), "scheme 'none' checks no signature"),
        (('secret = "env:HOOK_SECRET"\n', ""), "scheme 'github' needs a secret"),
        (("github", "hmac"), "scheme 'hmac' needs header"),
        (('"t"', '"t"\nencoding = "hex"'), "scheme 'github' has no encoding"),
        (('"t"', '"t"\ndelivery_id = "x-id"'), "scheme 'github' has no delivery_id, only hmac, none"),
        (('name = "a"', 'name = "A b"'), "hooks[0].name = 'A b'"),
        (
            ('scheme = "github"\nsecret = "env:HOOK_SECRET"\ntopic = "t"', 'scheme = "none"'),
            "'none' needs a topic",
        ),
        (('topic = "t"', 'topc = "t"'), "unknown key 'topc' in [hooks[0]]; did you mean topic?"),
        (('scheme = "github"', 'scheme = "Git Hub"'), "hooks[0].scheme = 'Git Hub'"),
    ],
)
def test_a_hook_fits_its_scheme(change: tuple[str, str], rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s")
    assert rule in problems(HOOK.replace(*change))


def test_two_hooks_cannot_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s")
    assert "hooks: two have the name 'a'" in problems(HOOK + HOOK)


# --- Times and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0.0),
        (1.5, 1.5),
        ("10", 10.0),
        ("500ms", 0.5),
        ("10s", 10.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
    ],
)
def test_times(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", -1, "1w", "1S", float("nan"), float("inf"), True, None, [], "1 2", "٣s"]
)
def test_what_is_no_time(text: object) -> None:
    with pytest.raises(ValueError, match="a time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        ("65536", 65536),
        ("64KiB", 65536),
        ("64kB", 64000),
        ("8 MiB", 8388608),
        ("1GiB", 2**30),
        ("1.5kib", 1536),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "64K", -1, "-1B", 1.5, "1.3B", True, None, "1e3", "٣"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="a size"):
        parse_size(text)


@given(st.integers(0, 2**45))
def test_sizes_are_shown_as_they_are_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**10))
def test_times_are_shown_as_they_are_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


# --- What is shown


def test_effective_settings_are_toml_that_reads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LIMITS__WRITE_TIMEOUT", "1500ms")
    loaded = read()
    text = effective(loaded)
    assert Settings(**tomllib.loads(text)) == loaded.settings
    line = next(line for line in text.splitlines() if line.startswith("write_timeout"))
    assert line.split("#")[1].strip() == "GATEWAY_LIMITS__WRITE_TIMEOUT"


HOOKS = """
[[hooks]]
name = "preset"
scheme = "shopify"
secret = "env:HOOK_SECRET"
require = []
[[hooks]]
name = "custom"
scheme = "custom"
topic = "custom/{header.x-kind}"
secret = ["env:HOOK_SECRET", "env:HOOK_SECRET"]
token = {value = "header.authorization", prefix = "Bearer "}
ignore = [{"header.x-kind" = "ping"}]
[[hooks]]
name = "own"
scheme = "hmac"
header = "x-signature"
topic = "own"
secret = "env:HOOK_SECRET"
[[hooks]]
name = "open"
scheme = "none"
topic = "open"
"""


def test_hooks_that_are_shown_read_back_as_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s")
    write(HOOKS)
    first = read()
    write(effective(first).replace('"***"', '"env:HOOK_SECRET"'))
    again = read()
    assert again.settings.hooks == first.settings.hooks
    assert [each.declared() for each in again.settings.hooks] == [
        each.declared() for each in first.settings.hooks
    ]
    [shown] = [each["value"] for each in listed(first.settings, {}) if each["name"] == "hooks"]
    assert shown[0] == {
        "name": "preset",
        "scheme": "shopify",
        "secret": ["***"],
        "public_key": [],
        "verify_token": [],
        "require": [],
    }


def test_effective_settings_mask_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "hunter2")
    write(HOOK)
    text = effective(read())
    assert 'secret = ["***"]' in text
    assert "hunter2" not in text


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), (
        "run: gateway check --reference > docs/configuration.md"
    )


def test_the_reference_page_names_every_setting() -> None:
    page = reference()
    for section in (Settings().server, Settings().limits, Settings().auth, Settings().origins):
        for key, field in type(section).model_fields.items():
            if section_in(field.annotation):
                assert f"auth.{key}]" in page
            else:
                assert f"| `{key}` |" in page
                assert field.description


def test_the_example_of_the_reference_page_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "s")
    write(reference().split("```toml\n")[1].split("```")[0])
    assert read().settings.server.port == 9000
