"""Secrets by reference: resolved at use, redacted ever after."""

import json
import os
from pathlib import Path

from tasks.common.errors import Refused, Retryable
from tasks.common.redaction import Redactor
from tasks.common.secrets import check_reference

_FILE_AT_MOST_BYTES = 2**20


class Secrets:
    """Resolves references, and keeps a redactor that knows every value it has handed out.

    No value leaves the process with it: a pickled copy knows none until it resolves them again.

    Args:
        base: folder that relative `file:` references start from; none: the working folder, until `start_from` is told.
    """

    def __init__(self, base: Path | None = None) -> None:
        self._base = base
        self.redactor = Redactor()

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._base,))

    def start_from(self, base: Path) -> None:
        """Relative `file:` references start from a folder, unless one was given before. *Idempotent:* yes."""
        if self._base is None:
            self._base = base

    def resolve(self, reference: str) -> str:
        """Return the value that a reference ('env:NAME', 'file:PATH' ...) stands for, without line ends at its end.

        No error names the value, or any part of it.

        Raises:
            Refused: it is no reference, there is nothing under that name, it is empty, or it is no text.
            Retryable: the place where it is kept does not answer.
        """
        try:
            check_reference(reference)
        except ValueError as error:
            raise Refused(
                str(error), on="a secret", next_action="write a reference where the secret is named"
            ) from None
        kind, _, name = reference.partition(":")
        value = _SOURCES[kind](name, self._base or Path()).rstrip("\r\n")
        if not value.strip():
            raise Refused("a secret is empty", on=reference, next_action="set it where the reference points")
        self.redactor.add(value)
        return value

    def redact(self, text: str) -> str:
        """Return the text without any secret that this object has resolved, or that is shaped like one."""
        return self.redactor.redact(text)


def _from_environment(name: str, base: Path) -> str:
    del base
    value = os.environ.get(name)
    if value is None:
        raise Refused(
            "a secret is missing",
            on=f"env:{name}",
            next_action=f"set the variable {name} where Slipway's worker is started",
        )
    return value


def _from_file(name: str, base: Path) -> str:
    path = base / name
    try:
        # A pipe or a device would be waited for, or read, without end.
        if path.exists() and not path.is_file():
            raise _bad_file("is no file", name, path)
        with path.open("rb") as file:
            data = file.read(_FILE_AT_MOST_BYTES + 1)
        if len(data) > _FILE_AT_MOST_BYTES:
            raise _bad_file(f"is larger than {_FILE_AT_MOST_BYTES >> 20} MiB", name, path)
        return data.decode()
    except OSError as error:
        raise _bad_file(f"cannot be read: {error.strerror}", name, path) from error
    except ValueError:
        # Not chained: a decoding error carries the bytes. A path with a NUL ends here, too.
        raise _bad_file("is no UTF-8 text", name, path) from None


def _bad_file(problem: str, name: str, path: Path) -> Refused:
    return Refused(
        f"a secret's file {problem}",
        on=f"file:{name}",
        next_action=f"make {path} a text file, readable by the user that runs Slipway's worker and by nobody else",
    )


def _from_prefect(name: str, base: Path) -> str:
    del base
    import httpx
    from prefect.blocks.system import Secret  # costs a second, and few estates use it
    from prefect.exceptions import PrefectException

    try:
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        # Not chained: what cannot be validated is printed with the value.
        raise Refused(
            "no such Secret block on the Prefect server",
            on=f"prefect-secret:{name}",
            next_action="create a block of type Secret with that name in the Prefect UI, under Blocks",
        ) from None
    except (PrefectException, httpx.HTTPError) as error:
        raise Retryable(
            f"the Prefect server did not answer: {type(error).__name__}",
            on=f"prefect-secret:{name}",
            next_action="check PREFECT_API_URL of the worker, and that the server runs",
        ) from error
    # Not get(): it reads the text as JSON, and makes a number of a password such as 1e5.
    return _text(block.value.get_secret_value(), f"prefect-secret:{name}")  # type: ignore[union-attr]


def _from_aws(name: str, base: Path) -> str:
    del base
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NotReached

    secret_id, _, key = name.partition("#")
    config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        # A session of its own: boto3's shared one is not safe between threads.
        answer = boto3.Session().client("secretsmanager", config=config).get_secret_value(SecretId=secret_id)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        busy = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500 or "Throttl" in code
        raise (Retryable if busy else Refused)(
            f"AWS Secrets Manager refused: {code}",
            on=f"aws-secret:{name}",
            next_action="wait for AWS, see its health page"
            if busy
            else "check the secret's name and the role's permission secretsmanager:GetSecretValue",
        ) from error
    except (NotReached, HTTPClientError) as error:
        raise Retryable(
            f"AWS Secrets Manager did not answer: {type(error).__name__}",
            on=f"aws-secret:{name}",
            next_action="check the network of the worker, and its AWS region",
        ) from error
    except BotoCoreError as error:
        raise Refused(
            f"AWS Secrets Manager cannot be asked: {type(error).__name__}",
            on=f"aws-secret:{name}",
            next_action="set AWS region and credentials where Slipway's worker is started",
        ) from error
    return _text(_fields(answer.get("SecretString"), name).get(key), f"aws-secret:{name}")


def _fields(document: str | None, name: str) -> dict[str, object]:
    """Return the secret's keys and values."""
    try:
        fields = json.loads(document or "")
    except ValueError:
        # Not chained: the error carries the document.
        fields = None
    if not isinstance(fields, dict):
        raise Refused(
            "the secret is no JSON object, so that it has no keys",
            on=f"aws-secret:{name}",
            next_action="store it as key and value pairs",
        )
    return fields


def _text(value: object, reference: str) -> str:
    if value is None:
        raise Refused("the secret has no such key, or no value", on=reference, next_action="add the key to the secret")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refused("a secret is no text", on=reference, next_action="store it as text, not as a list or a mapping")
    return str(value)


_SOURCES = {
    "env": _from_environment,
    "file": _from_file,
    "prefect-secret": _from_prefect,
    "aws-secret": _from_aws,
}
