"""The fault `cut`: packets to or from some addresses are dropped, one way or both; nobody is told."""

import ipaddress
import uuid
from typing import Literal

from pydantic import Field

from blocks.context import Context
from blocks.faults.networks import Namespace
from tasks.common.errors import Refused
from tasks.common.model import StrictModel
from tasks.drill.model import Undone
from tasks.drill.ports import Aim

_BEFORE_ALL = -300
"""Priority of the chains: before connections are tracked, so that open ones are cut, too."""


class Cut:
    """Implements `Fault`: a table of nft rules of its own in a network namespace.

    Args:
        settings: where, and which addresses.
        context: redacts.
    """

    class Settings(StrictModel):
        """Settings of the driver `cut`."""

        namespace: str = Field(min_length=1, description="network namespace, as 'ip netns' lists it")
        peers: list[str] = Field(min_length=1, description="addresses, or networks such as 10.1.0.0/16")
        direction: Literal["both", "in", "out"] = Field(
            default="both", description="in: what they send does not arrive; out: what is sent to them does not"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        self._settings = settings
        self._namespace = Namespace(settings.namespace, context)

    @property
    def reversible(self) -> bool:
        """Return that it is."""
        return True

    def aim(self) -> Aim:
        """Return the name of the table.

        Raises:
            Refused: there is no such namespace, or an address is none.
        """
        self._namespace.require()
        for each in self._settings.peers:
            self._family(each)
        return {"table": f"slipway_drill_{uuid.uuid4().hex[:12]}"}

    def inject(self, aim: Aim) -> None:
        """Nothing passes. *Idempotent:* yes."""
        table = aim["table"]
        if self._namespace.has_table(table):
            return
        rules = [f"add table inet {table}"]
        for hook, word, of in (("input", "in", "saddr"), ("output", "out", "daddr")):
            if self._settings.direction in ("both", word):
                chain = f"{table} cut_{word}"
                rules.append(f"add chain inet {chain} {{ type filter hook {hook} priority {_BEFORE_ALL}; }}")
                rules += [
                    f"add rule inet {chain} {self._family(each)} {of} {each} counter drop"
                    for each in self._settings.peers
                ]
        self._namespace.nft("; ".join(rules))

    def injected(self, aim: Aim) -> bool:
        """Return whether the rules are in force."""
        return self._namespace.exists and self._namespace.has_table(aim["table"])

    def undo(self, aim: Aim) -> Undone:
        """The rules are gone. *Idempotent:* yes.

        Raises:
            Refused: the system does not do it.
        """
        if not self._namespace.exists:
            return Undone("its namespace is gone")
        if not self._namespace.has_table(aim["table"]):
            return Undone("nothing was cut")
        self._namespace.nft(f"delete table inet {aim['table']}")
        return Undone("packets pass again")

    def _family(self, peer: str) -> str:
        try:
            network = ipaddress.ip_network(peer, strict=False)
        except ValueError:
            raise Refused(
                f"{peer!r} is no address", on=f"namespace {self._namespace.name}", next_action="correct 'peers'"
            ) from None
        return "ip" if network.version == 4 else "ip6"
