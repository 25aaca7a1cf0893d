"""The servers of a cluster, each asked on its own address whether it takes writes."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pydantic import Field

from blocks.context import Context
from blocks.drills.session import Declined, NoAnswer, NotSent, Session
from tasks.common.model import StrictModel
from tasks.common.secrets import SecretRef
from tasks.common.units import Name, PositiveDuration
from tasks.drill.model import NodeSeen, NodeState

_ASK = """
select pg_is_in_recovery() or current_setting('default_transaction_read_only')::boolean,
       (select system_identifier from pg_control_system())
"""


class PostgresqlNodes:
    """Implements `Nodes` with a connection to each.

    Args:
        settings: their addresses.
        context: resolves the references.
    """

    class Settings(StrictModel):
        """Settings of the driver `postgresql`."""

        nodes: dict[Name, SecretRef] = Field(min_length=1, description="reference to the address of each, by name")
        within_s: PositiveDuration = Field(default=2.0, alias="within", description="longest wait for an answer")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._references, self._within_s, self._secrets = settings.nodes, settings.within_s, context.secrets

    def addresses(self) -> Mapping[str, str]:
        """Return the address of each, by name.

        Raises:
            Refused: a reference cannot be resolved.
        """
        return {name: self._secrets.resolve(each) for name, each in sorted(self._references.items())}

    def look(self) -> Sequence[NodeSeen]:
        """Return every node as it is now, all asked at the same time. *Idempotent:* yes."""
        by_s = time.monotonic() + self._within_s
        known = self.addresses()
        with ThreadPoolExecutor(len(known)) as pool:
            return list(pool.map(lambda each: _look(each[0], each[1], by_s), known.items()))


def ask_node(name: str, session: Session, by_s: float) -> NodeSeen:
    """Return a node as it is now; silent where it has not answered by then."""
    try:
        ((no_writes, system_id),) = session.ask(_ASK, [], by_s)
    except (NotSent, NoAnswer, Declined) as error:
        return NodeSeen(name, NodeState.SILENT, why=str(error))
    return NodeSeen(name, NodeState.READ_ONLY if no_writes == "t" else NodeState.WRITABLE, str(system_id))


def _look(name: str, address: str, by_s: float) -> NodeSeen:
    session = Session(address)
    try:
        return ask_node(name, session, by_s)
    finally:
        session.close()
