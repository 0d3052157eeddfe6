"""``gateway hooks test`` against a real gateway process: signed as senders sign, shown without a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.patience import HANG_SECONDS

from .credentials import ENVIRONMENT, SETTINGS, token

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import RunningGateway, StartGateway

SECRETS = {
    "SHOP_SECRET": "s3cret of the shop",
    "LAB_SECRET": "a tökén/of the lab",
    "GRID_SECRET": "grid code+1",
}
HOOKS = """
[[hooks]]
name = "shop"
scheme = "shopify"
secret = "env:SHOP_SECRET"
topic = "shop/{body.kind}"

[[hooks]]
name = "lab"
scheme = "gitlab"
secret = "env:LAB_SECRET"

[[hooks]]
name = "grid"
scheme = "azure_event_grid"
secret = "env:GRID_SECRET"
topic = "grid/{body.0.eventType}"

[[hooks]]
name = "bell"
scheme = "twilio"
secret = "env:SHOP_SECRET"
topic = "bell/{body.To}"
public_url = "https://example.test/bell"

[[hooks]]
name = "open"
scheme = "none"
topic = "a/{body.kind}"
id = "{header.x-id}"

[[streams]]
name = "shop"
filter = "shop/#"
"""


@pytest.fixture(scope="module")
def gateway(module_gateway_process: StartGateway) -> RunningGateway:
    return module_gateway_process(SETTINGS + HOOKS, ENVIRONMENT | SECRETS)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(SETTINGS + HOOKS, encoding="utf-8")
    return path


def try_hook(
    gateway: RunningGateway, config: Path, *arguments: str, **variables: str
) -> tuple[int, dict[str, str]]:
    """Return how it ended, and what it printed by label."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    command = [sys.executable, "-m", "gateway", "hooks", "test", *arguments, "--config", str(config)]
    done = subprocess.run(
        [*command, "--url", f"http://127.0.0.1:{gateway.port}"],
        check=False, capture_output=True, text=True, timeout=3 * HANG_SECONDS,
        env=known | ENVIRONMENT | SECRETS | variables,
    )  # fmt: skip
    for secret in (*SECRETS.values(), "grid+code%2B1", "grid%20code%2B1", *variables.values()):
        assert secret not in done.stdout + done.stderr
    lines = (line.strip().partition(" ") for line in done.stdout.splitlines())
    return done.returncode, {label: text.strip() for label, _, text in lines}


def administrator() -> dict[str, str]:
    return {"GATEWAY_TOKEN": token(admin=True)}


def test_a_sample_is_made_up_signed_and_published(gateway: RunningGateway, config: Path) -> None:
    code, shown = try_hook(gateway, config, "shop", **administrator())
    assert code == 0
    assert shown["verdict"] == "published"
    assert shown["topic"] == "shop/sample"
    assert shown["stream"].startswith("shop, offset ")
    assert shown["answer"].startswith("200")
    assert shown["x-shopify-hmac-sha256"]


def test_a_file_is_sent_as_it_is_and_a_second_time_is_a_repeat(
    gateway: RunningGateway, config: Path, tmp_path: Path
) -> None:
    sample = tmp_path / "sample.json"
    sample.write_bytes(b'{ "kind": "paid" }')
    arguments = ["shop", "--file", str(sample), "--header", "X-Shopify-Webhook-Id=w-1"]
    code, shown = try_hook(gateway, config, *arguments, **administrator())
    assert (code, shown["verdict"], shown["topic"]) == (0, "published", "shop/paid")
    assert "18 bytes" in shown["request"]
    code, shown = try_hook(gateway, config, *arguments, **administrator())
    assert (code, shown["verdict"], shown["topic"]) == (0, "repeated", "shop/paid")


def test_a_refusal_says_why_to_administrators_alone(gateway: RunningGateway, config: Path) -> None:
    other = SECRETS["SHOP_SECRET"] + " of yesterday"
    code, shown = try_hook(gateway, config, "shop", SHOP_SECRET=other, **administrator())
    assert code == 1
    assert shown["verdict"].startswith("refused: wrong_signature, the signature is another one")
    assert shown["answer"].startswith("401")
    code, shown = try_hook(gateway, config, "shop", SHOP_SECRET=other)
    assert code == 1
    assert shown["verdict"].startswith("refused; more is told to administrators")
    assert shown["topic"] == "shop/sample, by the settings here"


def test_a_hook_that_names_no_topic_has_its_preset_s(gateway: RunningGateway, config: Path) -> None:
    _, shown = try_hook(gateway, config, "lab", **administrator())
    assert shown["topic"] == "gitlab/sample/sample"


def test_tokens_are_masked_in_headers_and_queries(gateway: RunningGateway, config: Path) -> None:
    code, shown = try_hook(gateway, config, "lab", **administrator())
    assert (code, shown["verdict"], shown["x-gitlab-token"]) == (0, "published", "**********")
    code, shown = try_hook(gateway, config, "grid", **administrator())
    assert (code, shown["verdict"]) == (0, "published")
    assert "?code=**********, " in shown["request"]


def test_a_form_and_the_url_that_the_sender_has_are_signed(gateway: RunningGateway, config: Path) -> None:
    code, shown = try_hook(gateway, config, "bell", **administrator())
    assert (code, shown["verdict"], shown["topic"]) == (0, "published", "bell/sample")
    assert shown["content-type"] == "application/x-www-form-urlencoded"


def test_a_hook_that_verifies_nothing_takes_the_token(gateway: RunningGateway, config: Path) -> None:
    code, shown = try_hook(gateway, config, "open")
    assert (code, shown["answer"][:3]) == (1, "401")
    code, shown = try_hook(gateway, config, "open", GATEWAY_TOKEN=token())
    assert (code, shown["authorization"]) == (0, "Bearer **********")
