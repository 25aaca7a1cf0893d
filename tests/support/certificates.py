"""Certificates that a test makes itself, and a server that shows one."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.http_server import answering, plain


@dataclass(frozen=True)
class Shown:
    """A self-signed certificate with its key, in PEM files; `not_after` is when it ends."""

    certificate: Path
    key: Path
    not_after: datetime


def certificate(folder: Path, host: str, *, valid_for: timedelta, since: timedelta = timedelta(days=1)) -> Shown:
    """Return a self-signed certificate for a host, which began `since` ago and ends `valid_for` from now."""
    now, key = datetime.now(UTC).replace(microsecond=0), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now - since, now + valid_for - since))
        .not_valid_after(now + valid_for)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    stem = f"{host}-{made.serial_number:x}"
    shown = Shown(folder / f"{stem}.pem", folder / f"{stem}.key", now + valid_for)
    shown.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain_key = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    shown.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain_key))
    return shown


@contextlib.contextmanager
def serving(shown: Shown) -> Iterator[str]:
    """Yield the 'host:port' of a TLS server on 127.0.0.1 with this certificate, for the length of a `with`."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(shown.certificate, shown.key)
    with answering(lambda _: plain(200), tls) as url:
        yield url.removeprefix("https://")
