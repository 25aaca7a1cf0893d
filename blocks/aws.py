"""How drivers sign in at Amazon's services, and how long they wait."""

import contextlib
from collections.abc import Iterator
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, model_validator

from blocks.context import Context
from blocks.s3 import meaning
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef

_WITHIN_S = 2.0
_CONFIG = Config(connect_timeout=_WITHIN_S, read_timeout=_WITHIN_S, retries={"total_max_attempts": 2})


class Account(StrictModel):
    """Settings by which a driver signs in."""

    region: str = Field(min_length=1, description="of the service that is asked")
    endpoint: str | None = Field(default=None, pattern=r"^https?://", description="if it is not AWS")
    access_key: SecretRef | None = Field(default=None, description="without keys: the machine's own role")
    secret_key: SecretRef | None = Field(default=None, description="reference to the secret key")

    @model_validator(mode="after")
    def _both_keys(self) -> Self:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("expected access_key and secret_key, or neither; found one of them")
        return self


def client(service: str, account: Account, context: Context) -> Any:
    """Return a client of the service, which waits 2 s for an answer and asks twice at most."""
    keys = {}
    if account.access_key is not None and account.secret_key is not None:
        keys = {
            "aws_access_key_id": context.secrets.resolve(account.access_key),
            "aws_secret_access_key": context.secrets.resolve(account.secret_key),
        }
    # A session of its own: boto3's default one is not safe to share between threads.
    session = boto3.session.Session()
    return session.client(service, region_name=account.region, endpoint_url=account.endpoint, config=_CONFIG, **keys)  # type: ignore[call-overload]


@contextlib.contextmanager
def errors(who: str, on: str, context: Context, state: str) -> Iterator[None]:
    """Turn the SDK's errors into Slipway's.

    Args:
        who: whom it is about: 'Route 53'.
        on: what was asked for, and where.
        context: redacts the SDK's words.
        state: how things are where the service did not answer.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise meaning(error, who, on, context.secrets.redact, state) from error
