"""`slipway receive`: the receiver as a server."""

from collections.abc import Mapping

import uvicorn

from blocks.estate import OpenEstate
from deployments.receiver.app import Bucket, Receiver, make_app
from deployments.receiver.dispatcher import Dispatcher
from tasks.common.errors import Refused
from tasks.common.run_steps import start_run

_A_SECOND, _AT_ONCE = 100, 1000
"""How many deliveries are looked at: on average, and in a burst."""
_ENDS_WITHIN_S = 10


def serve(estate: OpenEstate, host: str, port: int) -> None:
    """Take deliveries until the process is told to end.

    Raises:
        Refused: the estate names no webhooks, or a secret of theirs is missing.
        Retryable: the ledger does not answer.
    """
    sources, secrets = estate.file.webhooks, estate.context.secrets
    if not sources:
        raise Refused(
            "there is nobody to receive webhooks from",
            on=f"the estate {estate.file.estate}",
            next_action="add a source under webhooks of the estate file",
        )
    # All at once, before the first delivery: a source whose secret is missing would refuse everything.
    for source in sources.values():
        for reference in source.secrets:
            secrets.resolve(reference)
    estate.ledger.prepare()
    deliveries = estate.ledger.deliveries
    dispatcher = Dispatcher(deliveries, _start, secrets.redact)
    receiver = Receiver(sources, secrets, deliveries, dispatcher.wake)
    app = make_app(receiver, deliveries, dispatcher, Bucket(_A_SECOND, _AT_ONCE))
    uvicorn.run(app, host=host, port=port, log_level="info", access_log=False, timeout_graceful_shutdown=_ENDS_WITHIN_S)


def _start(flow: str, parameters: Mapping[str, str], key: str) -> str:
    return start_run(flow, parameters, key=key)
