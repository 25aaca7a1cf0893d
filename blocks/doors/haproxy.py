"""A site's HAProxy as its entrance: a map says whether anybody is let in, in the process and on the disk."""

import csv
import time
from collections.abc import Mapping

from pydantic import Field

from blocks.context import Context
from blocks.fence import Fence, held
from blocks.files import replacing, system_errors
from blocks.routers.haproxy_api import RuntimeApi
from blocks.routers.haproxy_files import read_map
from tasks.common.errors import Refused, Retryable
from tasks.common.lease import LeaseLost
from tasks.common.model import StrictModel
from tasks.common.sites import Door

KEY = "door"
_OPEN, _CLOSED = "open", "closed"
_WITHIN_S = 2.0
_CUT_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.05
_STATE = "whether it is open is not known: the file and the process may differ"


class HaproxyDoor:
    """Implements `SiteDoor` with HAProxy, whose every frontend for users asks the map (docs/how-to/connect-sites.md).

    Args:
        settings: which HAProxy.
        context: with a grant, it may be opened and closed.
    """

    class Settings(StrictModel):
        """Settings of the driver `haproxy`."""

        socket: str = Field(description="HAProxy's runtime socket, 'level admin'")
        map: str = Field(description="the map file that every frontend for users asks; read at HAProxy's start")
        backends: list[str] = Field(min_length=1, description="backends of those frontends; their connections are cut")

    def __init__(self, settings: Settings, context: Context) -> None:
        self._map = context.resolve(settings.map)
        self._socket = context.resolve(settings.socket)
        self._grant = context.grant
        self._backends = settings.backends
        # It only asks here: what changes the door is told after the grant, whatever has changed it before.
        self._api = RuntimeApi(self._socket, _WITHIN_S, Fence(self._map.with_suffix(".token"), None, self.where))

    @property
    def where(self) -> str:
        """Return which door it is."""
        return f"HAProxy at {self._socket}"

    def observe(self) -> Door:
        """Return whether it is open, read from the process; and whether its file says the same.

        One that lets nobody new in, but has somebody in who came before, is not known to be closed.

        Raises:
            Retryable: HAProxy does not answer.
        """
        try:
            said = self._said()
            inside = 0 if said.open else sum(self._inside().values())
        except Refused as refusal:
            raise Retryable(
                "HAProxy does not say whether the door is open",
                on=self.where,
                state="whether users get in is not known",
                next_action=refusal.next_action,
                facts={"HAProxy": refusal.what},
            ) from refusal
        if inside:
            return Door(None, said.holds, f"nobody new gets in, but {inside} connections from before have not ended")
        return said

    def _said(self) -> Door:
        """Return whether it lets new ones in, and whether a restart would change that."""
        running = self._api.map(self._map).get(KEY, _CLOSED)
        kept = (read_map(self._map) or {}).get(KEY)
        return Door(open=running != _CLOSED, holds=kept == running)

    def close(self) -> None:
        """No user gets in, open connections are cut, and a restart changes neither. *Idempotent:* yes.

        Raises:
            Retryable: HAProxy does not answer, or a connection was not seen to end.
        """
        self._set(_CLOSED)
        deadline = time.monotonic() + _CUT_WITHIN_S
        while self._cut():
            if time.monotonic() > deadline:
                raise Retryable(
                    "connections through the door do not end",
                    on=self.where,
                    state="nobody new gets in; who was in may still be",
                    next_action="set 'timeout server-fin 1s' in its backends, and close it again; or restart HAProxy: "
                    "it stays closed",
                )
            time.sleep(_LOOK_EVERY_S)

    def open(self) -> None:
        """Users get in, and a restart does not change it. *Idempotent:* yes.

        Raises:
            Retryable: HAProxy does not answer.
        """
        self._set(_OPEN)

    def _set(self, value: str) -> None:
        held(self._grant, self.where)
        # The file first: who is killed in between leaves a door of which it is seen that it does not hold.
        with system_errors("the door's state cannot be persisted", self._map), replacing(self._map) as file:
            file.write(f"{KEY} {value}\n".encode())
        try:
            held(self._grant, self.where)
            if self._api.ask(f"set map {self._map} {KEY} {value}", state=_STATE):
                self._api.ask(f"add map {self._map} {KEY} {value}", state=_STATE)
            found = self._said()
        except LeaseLost:
            raise
        except Refused as refusal:
            raise Retryable(
                refusal.what, on=self.where, state=_STATE, next_action=refusal.next_action, facts=refusal.facts
            ) from refusal
        if found != Door(open=value == _OPEN):
            raise Retryable(
                f"the door is not {value}",
                on=self.where,
                state=_STATE,
                next_action="see who else changes it; then do the same again",
            )

    def _cut(self) -> int:
        """Every connection through the door has been told to end; returns how many there were."""
        inside = self._inside()
        for server in inside:
            self._api.ask(f"shutdown sessions server {server}", state=_STATE)
        return sum(inside.values())

    def _inside(self) -> Mapping[str, int]:
        """Return how many connections there are through the door, by the servers that have any."""
        found = csv.DictReader(self._api.ask("show stat -1 4 -1", state=_STATE).removeprefix("# ").splitlines())
        own = [row for row in found if row["pxname"] in self._backends]
        return {f"{row['pxname']}/{row['svname']}": int(row["scur"]) for row in own if int(row["scur"] or 0)}
