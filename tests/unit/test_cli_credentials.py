from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.app.auth import build_authenticator
from gateway.auth.authenticators import CredentialAuthenticator
from gateway.cli import app
from gateway.cli.target import token_from
from gateway.errors import Unauthenticated
from gateway.settings import read

from .auth.tokens import key_of, private_pem, public_pem

SECRET = "hunter2 hunter2 hunter2 hunter2 hunter2"
SETTINGS = '[auth]\nmode = "required"\n[[auth.keys]]\nalgorithm = "HS256"\nsecret = "env:JWT_SECRET"\n'


@pytest.fixture(autouse=True)
def _secret(unconfigured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", SECRET)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def configured(text: str) -> CredentialAuthenticator:
    write("gateway.toml", text)
    built = build_authenticator(read().settings.auth)
    assert isinstance(built, CredentialAuthenticator)
    return built


# --- Where a command's own credential is

COMMANDS = [
    ["publish", "a", "1"],
    ["subscribe", "a", "--timeout", "1"],
    ["streams"],
    ["topics", "orders"],
    ["groups"],
    ["consume", "orders", "billing"],
    ["hooks", "list"],
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("token", ["hunter2\nx", "hunter2 x", "hunter2\u00e9", "hunter2\x7f"])
def test_a_token_that_no_header_carries_is_refused_and_not_repeated(
    command: list[str], token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", token)
    result = run(*command, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "GATEWAY_TOKEN: no token holds" in result.output
    assert "hunter2" not in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_credential_in_the_url_is_refused_and_not_repeated(command: list[str]) -> None:
    result = run(*command, "--url", "http://ann:hunter2@127.0.0.1:1")
    assert result.exit_code == 2
    assert "--url: " in result.output
    assert "hunter2" not in result.output


def test_a_line_end_is_no_part_of_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TOKEN", "one\n")
    monkeypatch.setenv("OTHER", "two\r\n")
    assert (token_from(None), token_from("OTHER")) == ("one", "two")
    monkeypatch.setenv("GATEWAY_TOKEN", "")
    assert token_from(None) is None


# --- gateway token


async def test_a_token_is_what_the_gateway_accepts() -> None:
    gateway = configured(SETTINGS)
    result = run(
        "token", "--sub", "ann", "--subscribe", "a/#", "--subscribe", "b", "--publish", "in/{sub}", "--admin"
    )
    assert result.exit_code == 0
    principal = await gateway.authenticate(result.stdout.strip())
    assert principal.subject == "ann"
    assert (principal.grants.subscribe, principal.grants.publish) == (("a/#", "b"), ("in/ann",))
    assert principal.grants.admin
    assert "hunter2" not in result.output


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_private_key_signs(algorithm: str) -> None:
    write("key.pem", private_pem(algorithm))  # type: ignore[arg-type]
    gateway = configured(
        f'[auth]\nmode = "required"\nissuer = "me"\naudience = "gateway"\n[[auth.keys]]\nkid = "k"\n'
        f'algorithm = "{algorithm}"\nprivate_key = "file:key.pem"\n'
    )
    result = run("token", "--sub", "ann", "--kid", "k", "--consume", "orders/billing")
    assert (await gateway.authenticate(result.stdout.strip())).grants.may_consume("orders", "billing")


def test_a_public_key_cannot_sign() -> None:
    write("key.pem", public_pem(key_of("ES256")))
    configured('[auth]\nmode = "required"\n[[auth.keys]]\nalgorithm = "ES256"\npublic_key = "file:key.pem"\n')
    result = run("token", "--sub", "ann")
    assert result.exit_code == 2
    assert "no key that can sign" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--publish", "a+"], "not a filter"),
        (["--consume", "orders"], "not a filter"),
        (["--expires", "soon"], "--expires: a time is"),
        (["--expires", "9999999d"], "'exp' must be"),
        (["--kid", "other"], "no key with the kid 'other'"),
        (["--subscribe", "x" * 500] * 20, "longer than 8192 bytes"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(arguments: list[str], reason: str) -> None:
    configured(SETTINGS)
    result = run("token", "--sub", "ann", *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not result.stdout


def test_where_no_token_is_looked_at_it_says_so() -> None:
    write("gateway.toml", SETTINGS.replace("required", "none"))
    assert 'auth.mode is "none"' in run("token", "--sub", "ann").stderr


def test_a_short_secret_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    configured(SETTINGS)
    monkeypatch.setenv("JWT_SECRET", "hunter2")
    for command in (["token", "--sub", "ann"], ["check"]):
        result = run(*command)
        assert result.exit_code == 2
        assert "auth.keys[0]: a secret for HS256 must have at least 32 bytes" in result.stderr
        assert "hunter2" not in result.output


# --- gateway key create


async def test_a_new_key_and_its_block_fit_each_other() -> None:
    result = run("key", "create", "--name", "billing", "--publish", "orders/#", "--subscribe", "a", "--admin")
    assert result.exit_code == 0
    key, _, block = result.stdout.partition("\n\n")
    assert key not in block
    assert tomllib.loads(block)["auth"]["api_keys"][0]["publish"] == ["orders/#"]
    principal = await configured(f'[auth]\nmode = "required"\n{block}').authenticate(key)
    assert principal.subject == "billing"
    assert (principal.grants.subscribe, principal.grants.publish) == (("a",), ("orders/#",))
    assert principal.grants.admin


async def test_another_key_is_not_accepted() -> None:
    block = run("key", "create", "--name", "one").stdout.partition("\n\n")[2]
    other = run("key", "create", "--name", "one").stdout.partition("\n\n")[0]
    with pytest.raises(Unauthenticated):
        await configured(f'[auth]\nmode = "required"\n{block}').authenticate(other)


@pytest.mark.parametrize(
    "arguments", [["--name", "a b"], ["--name", ""], ["--name", "a", "--publish", "a+"], []]
)
def test_a_key_needs_a_name_and_grants_that_are_filters(arguments: list[str]) -> None:
    result = run("key", "create", *arguments)
    assert result.exit_code == 2
    assert "gw_" not in result.output


def test_a_key_in_place_of_its_hash_is_refused_and_not_repeated() -> None:
    key, _, block = run("key", "create", "--name", "a").stdout.partition("\n\n")
    hashed = tomllib.loads(block)["auth"]["api_keys"][0]["hash"]
    Path("gateway.toml").write_text(
        f'[auth]\nmode = "required"\n{block.replace(hashed, key)}', encoding="utf-8"
    )
    result = run("check")
    assert result.exit_code == 2
    assert "API key 'a': hash must be" in result.stderr
    assert key not in result.output


def test_check_shows_keys_masked() -> None:
    configured(SETTINGS)
    output = run("check").output
    assert 'secret = "***"' in output
    assert "hunter2" not in output
