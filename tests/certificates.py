"""Certificates for tests, put in place as a renewing client does."""

from __future__ import annotations

import datetime as dt
import os
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

DAY = dt.timedelta(days=1)


def make_pair(
    name: str, *, begins: dt.timedelta = -DAY, ends: dt.timedelta = DAY, password: bytes | None = None
) -> tuple[bytes, bytes]:
    """A certificate that is its own authority, for 127.0.0.1, and its key; times are from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = (
        serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def put(directory: Path, *, certificate: bytes | None = None, key: bytes | None = None) -> None:
    """Replace what is given, each file in one step, the key first."""
    for file, content in (("key.pem", key), ("certificate.pem", certificate)):
        if content is not None:
            (directory / f"{file}.new").write_bytes(content)
            os.replace(directory / f"{file}.new", directory / file)


def make_certificate(directory: Path, name: str) -> None:
    """Put a pair in place."""
    certificate, key = make_pair(name)
    put(directory, certificate=certificate, key=key)
