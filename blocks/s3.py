"""What the errors of S3, and of servers that speak its protocol, mean to whoever is on call."""

from collections.abc import Callable

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from tasks.common.errors import UNCHANGED, Refused, Retryable, SlipwayError

MISSING = frozenset({"404", "NoSuchKey"})
"""Codes for an object that is not there."""
_MAY_PASS = {
    "SlowDown",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "Throttling",
    "ThrottlingException",
    "OperationAborted",
}
_GRANT = "grant s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket"
_KEYS = "check access_key and secret_key in the estate file"
_NEXT = {
    "NoSuchBucket": "create the bucket, or correct 'bucket' and 'region' in the estate file",
    "AccessDenied": _GRANT,
    "403": _GRANT,
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
}
_NETWORK = (NoConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)


def code_of(error: ClientError) -> str:
    """Return the server's own code: 'NoSuchKey'."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def meaning(
    error: ClientError | BotoCoreError, who: str, on: str, redact: Callable[[str], str], state: str = UNCHANGED
) -> SlipwayError:
    """Return the error that one of the SDK's means.

    Args:
        error: the SDK's.
        who: whom it is about: 'the artefact store'.
        on: what was asked for, and where.
        redact: takes secrets out of the SDK's words.
        state: how things are where the server did not answer.
    """
    if isinstance(error, ClientError):
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        may_pass = status >= 500 or code in _MAY_PASS
        return (Retryable if may_pass else Refused)(
            f"{who} refused: {code}",
            on=on,
            next_action=_NEXT.get(
                code, f"wait; if it lasts, look at the health of {who}" if may_pass else "see the code"
            ),
            facts={"HTTP status": status},
        )
    if isinstance(error, _NETWORK):
        return Retryable(
            f"{who} did not answer: {type(error).__name__}",
            on=on,
            state=state,
            next_action="check that its server runs and that this machine reaches it",
        )
    return Refused(
        f"{who} cannot be used: {redact(str(error))}",
        on=on,
        next_action="check region, access_key and secret_key in the estate file",
    )
