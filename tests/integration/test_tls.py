"""TLS by settings, on a real gateway: both protocols, renewal without a restart, wrong files.

Spec: docs/security.md, "TLS".
"""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx2
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect

from tests.certificates import make_certificate, make_pair, put
from tests.patience import HANG_SECONDS

from .conftest import RunningGateway
from .process_tree import children, command_line, wait_for
from .raw_client import until

if TYPE_CHECKING:
    from pathlib import Path


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def name_shown(gateway: RunningGateway) -> str:
    """The name in the certificate that a new connection gets."""
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as plain,
        trusting().wrap_socket(plain) as tls,
    ):
        encoded = tls.getpeercert(binary_form=True)
    assert encoded is not None
    certificate = x509.load_der_x509_certificate(encoded)
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def settings(directory: Path) -> str:
    return f'server.tls_certificate = "{directory}/certificate.pem"\nserver.tls_key = "{directory}/key.pem"\n'


async def test_both_protocols_over_tls_and_a_renewed_certificate(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "first")
    gateway = tls_gateway(settings(tmp_path))
    https = f"https://127.0.0.1:{gateway.port}"
    url = f"wss://127.0.0.1:{gateway.port}/v1/ws"
    assert name_shown(gateway) == "first"
    async with connect(url, ssl=trusting()) as old:
        assert '"welcome"' in str(await old.recv())
        await old.send('{"op":"subscribe","filter":"t"}')
        assert '"subscribed"' in str(await old.recv())

        (tmp_path / "key.pem").write_text("half a renewal")
        make_certificate(tmp_path, "second")
        await until(lambda: name_shown(gateway) == "second", 3 * HANG_SECONDS)

        async with httpx2.AsyncClient(verify=trusting()) as client:
            response = await client.post(
                f"https://127.0.0.1:{gateway.port}/v1/topics/t", content=b"x" * 60000
            )
            assert response.status_code == 202
        assert len(str(await old.recv())) > 60000
        await old.close()
        assert old.close_code == 1000
    assert https in gateway.output()


async def test_sighup_has_the_files_looked_at(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "first")
    gateway = tls_gateway(settings(tmp_path))
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: "TLS certificate is the same as before" in gateway.output())
    make_certificate(tmp_path, "second")
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: name_shown(gateway) == "second")


def test_old_protocols_and_plain_http_get_nothing(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "only")
    gateway = tls_gateway(settings(tmp_path))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in plain.recv(4096)
    context = trusting()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain)
    assert name_shown(gateway) == "only"


def test_a_worker_that_ends_in_the_midst_of_a_renewal_is_started_again(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "first")
    gateway = tls_gateway("server.workers = 2\n" + settings(tmp_path))

    def replace_workers(starts: int) -> None:
        for pid in children(gateway.pid):
            if "redis.sock" not in command_line(pid):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: gateway.output().count("gateway ready") == starts)

    wait_for(lambda: gateway.output().count("gateway ready") == 2)
    certificate, key = make_pair("second")
    put(tmp_path, key=key)
    replace_workers(starts=4)
    assert {name_shown(gateway) for _ in range(20)} == {"first"}
    # Those that were killed may have noticed as well.
    wait_for(lambda: gateway.output().count("the key is not that of the certificate") >= 2)
    put(tmp_path, certificate=certificate)
    replace_workers(starts=6)
    assert {name_shown(gateway) for _ in range(20)} == {"second"}


def test_its_end_is_a_metric_and_an_expired_one_is_told(tls_gateway, tmp_path) -> None:
    certificate, key = make_pair("old", ends=dt.timedelta(hours=-1))
    put(tmp_path, certificate=certificate, key=key)
    gateway = tls_gateway(settings(tmp_path))
    expires = x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    page = httpx2.get(f"https://127.0.0.1:{gateway.port}/metrics", verify=trusting()).text
    (shown,) = [line for line in page.splitlines() if line.startswith("gateway_tls_certificate_expiry_")]
    assert float(shown.split()[-1]) == expires
    wait_for(lambda: "has expired" in gateway.output())
    checked = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "--config", gateway.environment["GATEWAY_CONFIG"]],
        check=True,
        capture_output=True,
        text=True,
        timeout=3 * HANG_SECONDS,
    )
    assert re.fullmatch(r"gateway: warning: TLS certificate '.*' has expired: .*\n", checked.stderr)


def test_a_handshake_that_is_not_finished_is_cut(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "only")
    gateway = tls_gateway('limits.tls_handshake_timeout = "1s"\n' + settings(tmp_path))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=HANG_SECONDS) as plain:
        plain.sendall(b"\x16\x03\x01")  # the begin of a ClientHello
        with suppress(ConnectionResetError):
            assert plain.recv(1) == b""
    # Our own handshake may be cut as well, where the machine takes a second for it.
    wait_for(lambda: name_shown_in_time(gateway) == "only")


def name_shown_in_time(gateway: RunningGateway) -> str | None:
    try:
        return name_shown(gateway)
    except OSError:
        return None


def run_command(gateway: RunningGateway, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command of the command line against ``gateway``; returns its exit code and what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    environment.pop("SSL_CERT_FILE", None)
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--url", f"https://127.0.0.1:{gateway.port}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=3 * HANG_SECONDS,
        stdin=subprocess.DEVNULL,
        env=environment | variables,
    )
    return done.returncode, done.stdout + done.stderr


COMMANDS = {
    "publish": (["publish", "orders/a", "1"], ""),
    "subscribe": (["subscribe", "orders/#", "--from", "earliest", "--count", "1"], "orders/a"),
    "streams": (["streams"], "orders"),
}


def test_every_command_that_dials_takes_a_private_authority(tls_gateway, tmp_path) -> None:
    make_certificate(tmp_path, "private")
    authority = str(tmp_path / "certificate.pem")
    streams = '[[streams]]\nname = "orders"\nfilter = "orders/#"\n'
    gateway = tls_gateway(settings(tmp_path) + streams)
    for arguments, said in COMMANDS.values():
        for trusting_it in (
            run_command(gateway, *arguments, "--cacert", authority),
            run_command(gateway, *arguments, SSL_CERT_FILE=authority),
        ):
            assert trusting_it[0] == 0, trusting_it
            assert said in trusting_it[1]
    code, output = run_command(gateway, *arguments)
    assert (code, "certificate verify failed" in output) == (3, True), output


@pytest.mark.parametrize("name", COMMANDS)
def test_authorities_that_can_not_be_read_are_told(tmp_path, name) -> None:
    nowhere = RunningGateway(1, tmp_path, {})
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("none")
    arguments = COMMANDS[name][0]
    for (code, output), said in (
        (run_command(nowhere, *arguments, "--cacert", str(empty)), "--cacert {empty}: holds no certificate"),
        (
            run_command(nowhere, *arguments, SSL_CERT_FILE=str(missing)),
            "SSL_CERT_FILE {missing}: No such file",
        ),
    ):
        assert code == 2
        assert said.format(empty=empty, missing=missing) in output


def test_wrong_files_end_it_before_it_listens(gateway_process, tmp_path) -> None:
    make_certificate(tmp_path, "one")
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)ended with 2.*server.tls_key"):
        gateway_process(settings(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"(?s)ended with 2.*nowhere"):
        gateway_process('server.tls_certificate = "nowhere.pem"\nserver.tls_key = "nowhere.key"\n')


@pytest.fixture
def tls_gateway(gateway_process, monkeypatch):
    """Starts a gateway whose readiness is asked over TLS."""

    def ready(self: RunningGateway) -> int | None:
        try:
            return httpx2.get(f"https://127.0.0.1:{self.port}/readyz", verify=trusting()).status_code
        except httpx2.TransportError:
            return None

    monkeypatch.setattr(RunningGateway, "_readiness", ready)
    return gateway_process
