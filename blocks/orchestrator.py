"""The Prefect server's client, with errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError

from tasks.common.errors import Refused, Retryable

_SERVER_ERROR = 500


@contextmanager
def asking() -> Iterator[SyncPrefectClient]:
    """A client of the Prefect server, for the length of a `with`.

    Raises:
        Refused: the server does not take what it is asked.
        Retryable: it does not answer.
    """
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PrefectHTTPStatusError as error:
        if error.response.status_code >= _SERVER_ERROR:
            raise _silent(f"it has an error of its own ({error.response.status_code})") from error
        raise Refused(
            f"the Prefect server refused: {error.response.text[:300]}",
            on=str(error.request.url),
            next_action="check the request; 'slipway doctor' checks the server",
        ) from error
    except httpx.HTTPError as error:
        raise _silent(type(error).__name__) from error


def _silent(why: str) -> Retryable:
    return Retryable(
        f"the Prefect server does not answer: {why}",
        on="PREFECT_API_URL",
        next_action="start the lab with 'slipway up', or set PREFECT_API_URL to your server; then 'slipway doctor'",
    )
