"""Flow runs on the Prefect server, followed to their end."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import LogSort
from prefect.exceptions import PrefectHTTPStatusError

_POLL_S = 0.5
_PAGE = 200
_LATE = 100


@dataclass(frozen=True)
class Ended:
    """How a flow run ended, as Prefect has it; what it did is in the ledger under the same id."""

    run_id: str
    name: str
    state: str
    completed: bool
    message: str


def follow(run_id: str, say: Callable[[str], None]) -> Ended:
    """The run has ended; every line of its log was said as it came.

    A server that does not answer for a while is waited for: the run goes on without us.
    """
    seen: set[UUID] = set()
    while True:
        try:
            with get_client(sync_client=True) as client:
                while True:
                    run = client.read_flow_run(UUID(run_id))
                    _say_new(client, UUID(run_id), seen, say)
                    if run.state is not None and run.state.is_final():
                        # The run's process sends its last lines after its last state.
                        time.sleep(_POLL_S * 2)
                        _say_new(client, UUID(run_id), seen, say)
                        completed = run.state.type is StateType.COMPLETED
                        return Ended(
                            run_id, run.name, run.state.name or run.state.type.value, completed, run.state.message or ""
                        )
                    time.sleep(_POLL_S)
        except (httpx.HTTPError, PrefectHTTPStatusError) as error:
            say(f"the Prefect server does not answer ({type(error).__name__}); the run goes on, waiting for it")
            time.sleep(_POLL_S * 4)


def _say_new(client: SyncPrefectClient, run_id: UUID, seen: set[UUID], say: Callable[[str], None]) -> None:
    """Say what was not said yet. Tasks send their lines on their own, so one may come late and stand before others."""
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    while True:
        offset = max(0, len(seen) - _LATE)
        lines = client.read_logs(log_filter=wanted, limit=_PAGE, offset=offset, sort=LogSort.TIMESTAMP_ASC)
        new = [line for line in lines if line.id not in seen]
        for line in new:
            say(f"{line.timestamp:%H:%M:%S} {line.message}")
            seen.add(line.id)
        if not new:
            return
