"""The servers of a cluster, each asked on its own address whether it takes writes."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

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
        entrances: dict[Name, SecretRef] = Field(
            default_factory=dict, description="reference to the address at which users of its site come in, by name"
        )
        within_s: PositiveDuration = Field(default=2.0, alias="within", description="longest wait for an answer")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings, self._secrets = settings, context.secrets

    def look(self) -> Sequence[NodeSeen]:
        """Return every node as it is now, all asked at the same time. *Idempotent:* yes."""
        by_s = time.monotonic() + self._settings.within_s
        known = {name: self._resolved(name) for name in sorted(self._settings.nodes)}
        with ThreadPoolExecutor(len(known)) as pool:
            return list(pool.map(lambda each: _look(each[0], each[1], by_s), known.items()))

    def _resolved(self, name: str) -> tuple[str, str]:
        entrance = self._settings.entrances.get(name)
        return self._secrets.resolve(self._settings.nodes[name]), self._secrets.resolve(entrance) if entrance else ""


def ask_node(name: str, session: Session, by_s: float, entrance: Session | None = None) -> NodeSeen:
    """Return a node as it is now; silent where it has not answered by then.

    Args:
        name: of the node.
        session: to it.
        by_s: no answer counts after that, by `time.monotonic`.
        entrance: where users of its site come in; None: they reach the node itself.
    """
    seen = _ask_it(name, session, by_s)
    if entrance is not None and seen.state is NodeState.WRITABLE and _turns_away(entrance, by_s):
        return replace(seen, state=NodeState.SHUT)
    return seen


def _turns_away(entrance: Session, by_s: float) -> bool:
    """Return whether nobody who writes is let in. One that does not answer in time may let others in."""
    if _ask_it("", entrance, by_s).state is not NodeState.SILENT:
        return False
    return time.monotonic() < by_s


def _ask_it(name: str, session: Session, by_s: float) -> NodeSeen:
    try:
        ((no_writes, system_id),) = session.ask(_ASK, [], by_s)
    except (NotSent, NoAnswer, Declined) as error:
        return NodeSeen(name, NodeState.SILENT, why=str(error))
    return NodeSeen(name, NodeState.READ_ONLY if no_writes == "t" else NodeState.WRITABLE, str(system_id))


def _look(name: str, addresses: tuple[str, str], by_s: float) -> NodeSeen:
    session, entrance = (Session(each) if each else None for each in addresses)
    assert session is not None
    try:
        return ask_node(name, session, by_s, entrance)
    finally:
        session.close()
        if entrance is not None:
            entrance.close()
