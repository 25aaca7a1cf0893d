"""Secrets by reference: resolved at use, redacted ever after."""

import os
from pathlib import Path

from tasks.common.errors import Refused, Retryable
from tasks.common.redaction import Redactor


class Secrets:
    """Resolves references, and keeps a redactor that knows every value it has handed out.

    Args:
        base: folder that relative `file:` references start from.
    """

    def __init__(self, base: Path = Path()) -> None:
        self._base = base
        self.redactor = Redactor()

    def resolve(self, reference: str) -> str:
        """Return the value that a reference ('env:NAME', 'file:PATH' ...) stands for, without its last line end.

        Raises:
            Refused: there is nothing under that name, or it is empty.
            Retryable: the place where it is kept does not answer.
        """
        kind, _, name = reference.partition(":")
        value = _SOURCES[kind](name, self._base).rstrip("\r\n")
        if not value:
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
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(
            f"a secret's file cannot be read: {error.strerror}",
            on=f"file:{name}",
            next_action=f"create {path}, readable by the user that runs Slipway's worker and by nobody else",
        ) from error


def _from_prefect(name: str, base: Path) -> str:
    del base
    from prefect.blocks.system import Secret  # costs a second, and few estates use it
    from prefect.exceptions import PrefectException

    try:
        secret = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError as error:
        raise Refused(
            "no such Secret block on the Prefect server",
            on=f"prefect-secret:{name}",
            next_action="create a block of type Secret with that name in the Prefect UI, under Blocks",
        ) from error
    except PrefectException as error:
        raise Retryable(
            "the Prefect server did not answer",
            on=f"prefect-secret:{name}",
            next_action="run 'slipway doctor'",
        ) from error
    return str(secret.get())  # type: ignore[union-attr]


def _from_aws(name: str, base: Path) -> str:
    del base
    import json

    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    secret_id, _, key = name.partition("#")
    try:
        text = boto3.client("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise Refused(
            f"AWS Secrets Manager refused: {code}",
            on=f"aws-secret:{name}",
            next_action="check the secret's name and the role's permission secretsmanager:GetSecretValue",
        ) from error
    except BotoCoreError as error:
        raise Retryable(
            f"AWS Secrets Manager did not answer: {type(error).__name__}",
            on=f"aws-secret:{name}",
            next_action="check region, credentials and network of the worker",
        ) from error
    values = json.loads(text)
    if key not in values:
        raise Refused("the secret has no such key", on=f"aws-secret:{name}", next_action=f"add {key} to the secret")
    return str(values[key])


_SOURCES = {
    "env": _from_environment,
    "file": _from_file,
    "prefect-secret": _from_prefect,
    "aws-secret": _from_aws,
}
