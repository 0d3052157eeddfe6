from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from gateway.transports.server import tls
from gateway.transports.server.tls import Certificate, UnusableCertificate
from gateway.transports.server.tls_pair import Validity
from tests.certificates import DAY, make_certificate, make_pair, put
from tests.patience import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOURS = 3600.0


def loaded(directory: Path, **more: object) -> Certificate:
    return Certificate(str(directory / "certificate.pem"), str(directory / "key.pem"), **more)


def shown(certificate: Certificate) -> bytes:
    """What a client is shown now, in a handshake without a network."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_side=False),
        certificate.context.wrap_bio(there, back, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    encoded = ends[0].getpeercert(binary_form=True)
    assert encoded is not None
    return encoded


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        (lambda one: one[0][:300], None, "certificate's file ends in the middle"),
        (lambda one: b"", None, "does not hold a certificate"),
        (lambda one: one[0] + one[0][:300], None, "ends in the middle"),
        (None, lambda one: one[1][:100], "key's file ends in the middle"),
        (None, lambda one: b"", "does not hold a private key"),
        (None, lambda one: make_pair("other")[1], "the key is not that of the certificate"),
        (None, lambda one: make_pair("other", password=b"word")[1], "the key is encrypted"),
    ],
)
def test_a_wrong_pair_is_told_with_its_reason_and_the_old_one_serves(
    tmp_path: Path, certificate, key, reason
) -> None:
    one = make_pair("one")
    put(tmp_path, certificate=one[0], key=one[1])
    live = loaded(tmp_path)
    put(tmp_path, certificate=certificate and certificate(one), key=key and key(one))
    for number in (1, 2):
        with pytest.raises(UnusableCertificate, match=reason):
            live.reload()
        assert live.statistics().failures == number
    with pytest.raises(UnusableCertificate, match=reason):
        loaded(tmp_path)
    assert shown(live) == der(one[0])
    two = make_pair("two")
    put(tmp_path, certificate=two[0], key=two[1])
    assert live.reload()
    assert not live.reload()
    assert shown(live) == der(two[0])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    make_certificate(tmp_path, "one")
    live = loaded(tmp_path)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(UnusableCertificate, match=r"No such file.*key\.pem"):
        live.reload()


def test_a_validity_says_what_is_wrong_with_it() -> None:
    validity = Validity(1000.0, 2000.0)
    assert [validity.problem(now) for now in (1000.0, 1899.0)] == [None, None]
    assert "not valid before 1970-01-01 00:16:40" in str(validity.problem(999.0))
    assert "expires soon" in str(validity.problem(1900.0))
    assert "has expired: it was valid until 1970-01-01 00:33:20" in str(validity.problem(2000.0))


@asynccontextmanager
async def watched(certificate: Certificate) -> AsyncIterator[None]:
    watching = asyncio.create_task(certificate.watch(every=0.001))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def until_looked(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return when the files have been looked at twice from now on."""
    looks = 0
    renewed = certificate._renewed

    def look() -> object:
        nonlocal looks
        looks += 1
        return renewed()

    monkeypatch.setattr(certificate, "_renewed", look)
    async with asyncio.timeout(HANG_SECONDS):
        while looks < 3:  # noqa: ASYNC110 - the third begins when the second is done with
            await asyncio.sleep(0.001)


async def test_an_expired_certificate_is_told_at_once_and_daily(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, tls.__name__)
    certificate, key = make_pair("old", begins=-2 * DAY, ends=-DAY)
    put(tmp_path, certificate=certificate, key=key)
    now = [1e10]
    live = loaded(tmp_path, wall_clock=lambda: now[0])
    told = [1, 1, 2, 2]
    async with watched(live):
        for hours, count in zip((0, 23, 1, 1), told, strict=True):
            now[0] += hours * HOURS
            await until_looked(live, monkeypatch)
            assert sum("has expired" in message for message in caplog.messages) == count


def test_a_process_forked_later_takes_up_what_is_there_now(tmp_path: Path) -> None:
    make_certificate(tmp_path, "one")
    live = loaded(tmp_path)
    two = make_pair("two")
    put(tmp_path, certificate=two[0], key=two[1])
    live.catch_up(pytest.fail)
    assert shown(live) == der(two[0])


def test_a_process_forked_during_a_renewal_serves_with_the_last_good_pair(tmp_path: Path) -> None:
    one, two = make_pair("one"), make_pair("two")
    put(tmp_path, certificate=one[0], key=one[1])
    live = loaded(tmp_path)
    put(tmp_path, key=two[1])
    live.catch_up(pytest.fail)
    assert shown(live) == der(one[0])


def test_one_that_has_only_an_expired_pair_waits_for_a_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = make_pair("one", ends=-DAY / 2), make_pair("two")
    put(tmp_path, certificate=one[0], key=one[1])
    live = loaded(tmp_path)
    put(tmp_path, key=two[1])
    waits = 0

    def wait() -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            put(tmp_path, certificate=two[0])

    live.catch_up(wait)
    assert waits == 3
    assert shown(live) == der(two[0])
    assert sum("has expired" in message for message in caplog.messages) == 1
