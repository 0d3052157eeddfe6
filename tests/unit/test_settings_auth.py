from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.settings import InvalidSettings, Settings, read
from gateway.settings.listing import effective

from .settings_file import problems, settings

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
SECRET = "hunter2 hunter2 hunter2 hunter2 hunter2"
KEY = '[[auth.keys]]\nalgorithm = "HS256"\nsecret = "env:JWT_SECRET"\n'
API_KEY = '[[auth.api_keys]]\nname = "billing"\nhash = "abcdefgh:00"\npublish = ["orders/#"]\n'
JWKS = '[auth.jwks]\nurl = "https://issuer.example/jwks.json"\n'


@pytest.fixture(autouse=True)
def _secret(unconfigured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)


# --- What clients are known by


def test_keys_issuer_and_api_keys_can_stand_side_by_side() -> None:
    auth = settings(f'[auth]\nmode = "required"\n{KEY}kid = "k"\n{JWKS}audience = "gateway"\n{API_KEY}').auth
    assert (auth.keys[0].algorithm, auth.keys[0].kid) == ("HS256", "k")
    assert auth.jwks is not None
    assert (auth.jwks.url, auth.jwks.issuer) == ("https://issuer.example/jwks.json", None)
    assert (auth.api_keys[0].name, auth.api_keys[0].publish) == ("billing", ("orders/#",))


@pytest.mark.parametrize("mode", ["required", "optional"])
def test_authentication_needs_something_to_know_clients_by(mode: str) -> None:
    assert f"mode {mode!r} needs something to know clients by" in problems(f'[auth]\nmode = "{mode}"\n')


@pytest.mark.parametrize("one", [KEY, API_KEY, JWKS])
def test_one_of_the_three_is_enough(one: str) -> None:
    assert settings(f'[auth]\nmode = "required"\n{one}').auth.mode == "required"


def test_with_authentication_the_gateway_may_listen_beyond_loopback() -> None:
    assert settings(f'[server]\nhost = "0.0.0.0"\n[auth]\nmode = "required"\n{KEY}').server.host == "0.0.0.0"
    assert "set auth.mode" in problems(f'[server]\nhost = "0.0.0.0"\n{KEY}')


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ('algorithm = "HS256"', "algorithm 'HS256' needs secret"),
        ('algorithm = "HS256"\npublic_key = "env:JWT_SECRET"', "algorithm 'HS256' needs secret"),
        ('algorithm = "RS256"', "needs one of public_key and private_key"),
        ('algorithm = "RS256"\nsecret = "env:JWT_SECRET"', "needs one of public_key and private_key"),
        (
            'algorithm = "ES256"\npublic_key = "env:JWT_SECRET"\nprivate_key = "env:JWT_SECRET"',
            "needs one of public_key and private_key",
        ),
        ('algorithm = "none"', "should be 'HS256', 'RS256', 'ES256' or 'EdDSA'"),
        ('algorithm = "HS512"\nsecret = "env:JWT_SECRET"', "should be 'HS256'"),
        ('algorithm = "HS256"\nsecret = "env:JWT_SECRET"\nkid = ""', "at least 1 character"),
        ('algorithm = "HS256"\nsecert = "x"', "unknown key 'secert' in [auth.keys[0]]; did you mean secret?"),
    ],
)
def test_a_key_fits_its_algorithm(key: str, rule: str) -> None:
    text = problems(f"[[auth.keys]]\n{key}\n")
    assert rule in text
    assert text.startswith("gateway.toml: ")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://issuer.example/jwks", "must be https"),
        ("ftp://issuer.example/jwks", "must be https"),
        ("file:///etc/passwd", "must be a URL"),
        ("issuer.example", "must be a URL"),
        ("https://", "must be a URL"),
        ("https://h:x/", "must be a URL"),
        ("https://user:hunter2@issuer.example/", "must be a URL"),
    ],
)
def test_the_issuer_s_keys_come_over_https(url: str, rule: str) -> None:
    assert rule in problems(f'[auth.jwks]\nurl = "{url}"\n')


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost", "[::1]:9"])
def test_on_loopback_http_will_do(host: str) -> None:
    jwks = settings(f'[auth.jwks]\nurl = "http://{host}/"\n').auth.jwks
    assert jwks is not None
    assert jwks.url == f"http://{host}/"


@pytest.mark.parametrize("cookie", ["session", "__Host-", "__Host-a b", "__Secure-a", "__Host-a;"])
def test_a_cookie_is_a_host_cookie(cookie: str) -> None:
    assert 'must begin with "__Host-"' in problems(f'[auth]\ncookie = "{cookie}"\n')


def test_an_empty_cookie_name_is_none() -> None:
    assert settings('[auth]\ncookie = ""\n').auth.cookie == ""


def test_mistakes_in_nested_tables_are_named() -> None:
    text = problems(f"{JWKS}isuer = 'x'\n[auth.anonymous]\nadmin = true\n{API_KEY.replace('name', 'nam')}")
    assert "unknown key 'isuer' in [auth.jwks]; did you mean issuer?" in text
    assert "unknown key 'admin' in [auth.anonymous]" in text
    assert "auth.api_keys[0].name is needed" in text


# --- Secrets


def test_keys_are_masked_everywhere() -> None:
    loaded = settings(KEY)
    assert loaded.secret_texts() == (SECRET,)
    assert "hunter2" not in repr(loaded)
    assert "hunter2" not in str(loaded.model_dump())
    shown = effective(read())
    assert "[[auth.keys]]  # gateway.toml" in shown
    assert 'secret = "***"' in shown
    assert "hunter2" not in shown


def test_a_private_key_is_masked_too_and_a_public_one_no_secret() -> None:
    text = '[[auth.keys]]\nalgorithm = "ES256"\nprivate_key = "env:JWT_SECRET"\n'
    assert settings(text).secret_texts() == (SECRET,)
    assert settings(text.replace("private", "public")).secret_texts() == ()


@pytest.mark.parametrize("name", ["secret", "private_key", "public_key"])
def test_a_key_written_out_is_refused_and_not_repeated(name: str) -> None:
    text = problems(f'[[auth.keys]]\nalgorithm = "RS256"\n{name} = "-----BEGIN hunter2"\n')
    assert f"auth.keys[0].{name}: a secret is named" in text
    assert "hunter2" not in text


# --- From the environment


def test_nested_tables_can_be_given_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_AUTH__JWKS__URL", "https://issuer.example/")
    monkeypatch.setenv("GATEWAY_AUTH__ANONYMOUS__SUBSCRIBE", "public/#, news/+")
    monkeypatch.setenv("GATEWAY_AUTH__MODE", "optional")
    loaded = read()
    assert loaded.settings.auth.jwks is not None
    assert loaded.settings.auth.anonymous.subscribe == ("public/#", "news/+")
    assert loaded.names["auth.jwks.url"] == "GATEWAY_AUTH__JWKS__URL"


def test_the_environment_wins_key_by_key_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_AUTH__JWKS__AUDIENCE", "other")
    loaded = settings(f'{JWKS}audience = "gateway"\nissuer = "me"\n').auth.jwks
    assert loaded is not None
    assert (loaded.url, loaded.issuer, loaded.audience) == ("https://issuer.example/jwks.json", "me", "other")
    shown = effective(read())
    assert next(line for line in shown.splitlines() if "other" in line).endswith(
        "# GATEWAY_AUTH__JWKS__AUDIENCE"
    )


def test_lists_of_tables_are_one_json_array(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [{"algorithm": "HS256", "secret": "env:JWT_SECRET"}]
    monkeypatch.setenv("GATEWAY_AUTH__KEYS", json.dumps(keys))
    assert read().settings.auth.keys[0].algorithm == "HS256"
    monkeypatch.setenv("GATEWAY_AUTH__KEYS", '[{"secret": "hunter2"')
    with pytest.raises(InvalidSettings) as caught:
        read()
    assert "hunter2" not in str(caught.value)


# --- What goes with it


def test_certificate_and_key_go_together() -> None:
    assert "go together" in problems('[server]\ntls_certificate = "cert.pem"\n')
    assert "go together" in problems('[server]\ntls_key = "key.pem"\n')
    assert settings('[server]\ntls_certificate = "c"\ntls_key = "k"\n').server.tls_key == "k"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "proxy.example", "*", "10.0.0.0/33"])
def test_a_trusted_proxy_is_an_address_or_a_network(network: str) -> None:
    assert "is not an address or network" in problems(f'[server]\ntrusted_proxies = ["{network}"]\n')


def test_rates_are_off_at_zero() -> None:
    limits = settings('[limits]\ncommands_per_second = 0\npublish_bytes_per_second = "1MiB"\n').limits
    assert (limits.commands_per_second, limits.publish_bytes_per_second) == (0, 1048576)
    assert (limits.connections_per_address, limits.publishes_per_second) == (0, 0)
    assert "greater than or equal to 0" in problems("[limits]\npublishes_per_second = -1\n")


def test_the_settings_in_the_security_page_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_JWT_SECRET", SECRET)
    Path("issuer.pem").write_text("a PEM", encoding="ascii")
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    loaded = settings("\n".join(blocks))
    assert loaded.auth.mode == "required"
    assert [key.algorithm for key in loaded.auth.keys] == ["HS256", "ES256"]


def test_the_security_page_names_limits_that_exist() -> None:
    limits = PAGE.read_text(encoding="utf-8").partition("## Limits")[2].partition("## Secrets")[0]
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", limits)) - {"rate_limited", "too_large", "too_many"}
    assert named - set(type(Settings().limits).model_fields) == {"bad_frame", "bad_topic"}
