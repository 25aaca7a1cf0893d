"""A repository of restic that opens at once: each command of restic else spends half a second on the password."""

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tests.support.needs import need

_CHEAP = {"N": 1024, "r": 8, "p": 1}


def make_cheap_repository(folder: Path, password: str) -> None:
    """The folder is an empty repository, made by restic, whose key is sealed again with a cheap scrypt.

    *Source:* restic's design document, "Keys, Encryption and MAC".
    """
    environment = {**os.environ, "RESTIC_PASSWORD": password}
    subprocess.run([str(need("restic")), "--repo", str(folder), "init", "--quiet"], env=environment, check=True)
    (file,) = (folder / "keys").iterdir()
    key = json.loads(file.read_text())
    plain = _decrypt(base64.b64decode(key["data"]), _derive(password, key))
    key.update(_CHEAP)
    key["data"] = base64.b64encode(_encrypt(plain, _derive(password, key))).decode()
    content = json.dumps(key).encode()
    file.chmod(0o600)
    file.unlink()
    (folder / "keys" / hashlib.sha256(content).hexdigest()).write_bytes(content)


def _derive(password: str, key: dict[str, Any]) -> bytes:
    salt = base64.b64decode(key["salt"])
    return hashlib.scrypt(password.encode(), salt=salt, n=key["N"], r=key["r"], p=key["p"], dklen=64, maxmem=2**28)


def _decrypt(sealed: bytes, key: bytes) -> bytes:
    return _stream(sealed[:16], key, sealed[16:-16])


def _encrypt(plain: bytes, key: bytes) -> bytes:
    nonce = os.urandom(16)
    sealed = _stream(nonce, key, plain)
    encryptor = Cipher(algorithms.AES(key[32:48]), modes.ECB()).encryptor()
    return nonce + sealed + Poly1305.generate_tag(key[48:] + encryptor.update(nonce), sealed)


def _stream(nonce: bytes, key: bytes, data: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key[:32]), modes.CTR(nonce)).encryptor()
    return encryptor.update(data) + encryptor.finalize()
