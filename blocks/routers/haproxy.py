"""A router that is an HAProxy, ruled through its runtime API; a reload or restart brings back what was set.

Shares are one number in a map (green's; blue gets the rest), so that a shift is one atomic change. Members are the
server lines of two backends, one a slot. `haproxy_config` has the configuration that this needs.
"""

import ipaddress
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pydantic import Field

from blocks.context import Context
from blocks.fence import Fence
from blocks.routers import haproxy_files as files
from blocks.routers.haproxy_api import Load, RuntimeApi, Server
from blocks.routers.haproxy_config import CAPACITY, SHARE_KEY, UNSET_ADDRESS, Names
from blocks.routers.shares import WHOLE, shares
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.common.model import StrictModel
from tasks.common.units import PositiveDuration
from tasks.rollout.model import SLOTS, Admission, Member, Routing
from tasks.rollout.ports import Endpoint

T = TypeVar("T")

_POLL_S = 0.05
_ADDRESS_ANSWER = (
    r"(IP changed from .+|no need to change the addr), (port changed from .+|no need to change the port).*"
)
_ADMITTING = "weights are as before; not all of these members may be in"
_DRAINING = "weights are as before; not all of these members may be out"
_HEALTH_PATH = re.compile(r"/[\w.~/?=&%+:@,-]*", re.ASCII)


class HaproxyRouter:
    """Implements `Router` with one HAProxy of version 2.6 or later.

    Every method that changes something can also raise what `claim` does.

    Args:
        settings: where HAProxy is reached and keeps its state.
        context: whose traffic it is.
    """

    class Settings(StrictModel):
        """Settings of the driver `haproxy`."""

        socket: str = Field(description="UNIX socket of the runtime API, with level admin")
        state: str = Field(description="folder of the map and server-state files that HAProxy's configuration names")
        capacity: int = Field(default=CAPACITY, ge=1, le=1000, description="server lines of each slot")
        timeout_s: PositiveDuration = Field(default=5.0, alias="timeout", description="longest wait for one answer")
        up_within_s: PositiveDuration = Field(
            default=30.0, alias="up_within", description="an admitted instance passes HAProxy's check within this time"
        )

    def __init__(self, settings: Settings, context: Context) -> None:
        assert context.target is not None, "a router serves one service in one environment"
        self._on = str(context.target)
        self._settings = settings
        self._names = Names(context.target.service, context.target.environment, context.resolve(settings.state))
        self._fence = Fence(self._names.fence, context.grant, self._on)
        self._api = RuntimeApi(context.resolve(settings.socket), settings.timeout_s, self._fence)

    def observe(self) -> Routing:
        """Return weights, members and open requests as HAProxy has them, and whether a restart would bring them back.

        Raises:
            Retryable: HAProxy does not answer.
            Refused: there is no runtime socket, or HAProxy's configuration does not have this service.
            Unsafe: HAProxy's answer, or the share that it holds, cannot be understood.
        """
        members = self._members()
        weights = dict.fromkeys(SLOTS, 0.0)
        share = self._share()
        if share is not None:
            weights = {"blue": (WHOLE - share) / 1000, "green": share / 1000}
        return Routing(weights, members, self._persisted())

    def claim(self) -> None:
        """No holder of an older lease can change anything for this service in this environment any more.

        HAProxy itself is not asked, and need not run. One that hangs may still have a command of an older holder before
        it: that takes effect when it goes on, before it answers anybody who asks later. So observe after claiming.

        *Idempotent:* yes.

        Raises:
            LeaseLost: the holder of a newer lease has been here.
            Refused: nobody holds a lease, or the folder for state cannot be written to.
            Retryable: another process does not end its change.
        """
        self._fence.claim()

    def admit(self, endpoints: Sequence[Endpoint]) -> None:
        """The endpoints are members, and HAProxy's own checks of them have passed before they got the first request.

        *Idempotent:* yes: a member that is in with the same address and path is only waited for.

        Raises:
            Refused: the slot has no room for an index, or an address or path cannot be told to HAProxy.
            Retryable: HAProxy does not answer, or does not find one up in time; that one gets no requests.
            Unsafe: what was read back is not what was set.
        """
        self.claim()
        before = {slot: self._servers(slot) for slot in SLOTS}
        for endpoint in endpoints:
            self._refuse_unfit(endpoint, before)
        paths = self._api.map(self._names.health_map)
        for endpoint in endpoints:
            server = before[endpoint.slot][endpoint.index]
            as_wanted = server.address == endpoint.address and paths.get(_key(endpoint)) == endpoint.health_path
            if not as_wanted or server.admission is not Admission.IN:
                self._prepare(endpoint)
        self._await_up(endpoints)
        for endpoint in endpoints:
            self._tell_server(endpoint.slot, endpoint.index, "state ready", _ADMITTING)
        self._persist_members()
        members = {(m.slot, m.index): m for m in self._members()}
        for endpoint in endpoints:
            found = members.get((endpoint.slot, endpoint.index))
            if found is None or found.address != endpoint.address or found.admission is not Admission.IN:
                raise self._differs(f"{_key(endpoint)} in at {endpoint.address}", str(found))

    def shift(self, weights: dict[str, float]) -> None:
        """New requests are shared so; the map file says it before HAProxy does it, and HAProxy was asked afterwards.

        *Idempotent:* yes.

        Raises:
            Refused: unknown slot, weights that do not sum to 100, or weight on a slot without a member that is up.
            Retryable: HAProxy does not answer; a restart would bring the new weights.
            Unsafe: what was read back is not what was set.
        """
        self.claim()
        share = shares(weights, self._members(), self._on)["green"]
        self._persist_members()
        with self._fence.changing():
            files.write_share_map(self._names, {SHARE_KEY: str(share)})
        state = f"persisted, but not known to be in force: green gets {share / 1000:g} %, blue the rest"
        self._api.set_map(self._names.share_map, SHARE_KEY, str(share), state=state)
        found = self._share()
        if found != share:
            raise self._differs(f"green at {share / 1000:g} %", "no share" if found is None else f"{found / 1000:g} %")

    def drain(self, slot: str, indexes: Sequence[int], timeout_s: float) -> int:
        """The members are OUT and forgotten; returns how many open requests were cut at the timeout.

        *Idempotent:* yes. Draining can be undone by `admit` until the timeout cuts requests.

        Raises:
            Retryable: HAProxy does not answer.
            Unsafe: what was read back is not what was set.
        """
        self.claim()
        going = sorted({m.index for m in self._members() if m.slot == slot and m.index in indexes})
        for index in going:
            self._tell_server(slot, index, "state drain", _DRAINING)
        self._persist_members()
        _poll(lambda: not self._open_requests(slot, going), timeout_s)
        cut = self._open_requests(slot, going)
        for index in going:
            self._tell_server(slot, index, "state maint", _DRAINING)
        if cut:
            for index in going:
                self._api.tell(f"shutdown sessions server {self._names.server(slot, index)}", state=_DRAINING)
            _poll(lambda: not self._open_requests(slot, going), self._settings.timeout_s)
        for index in going:
            self._set_address(slot, index, UNSET_ADDRESS, _DRAINING)
        self._persist_members()
        left = [m for m in self._members() if m.slot == slot and m.index in going]
        if left or self._open_requests(slot, going):
            raise self._differs(f"{slot} {going} out, without open requests", f"{left or 'open requests'}")
        return cut

    def _refuse_unfit(self, endpoint: Endpoint, servers: Mapping[str, Mapping[int, Server]]) -> None:
        room = set(servers.get(endpoint.slot, {})) & set(range(self._settings.capacity))
        if endpoint.index not in room:
            raise self._refused(
                f"there is no room for {_key(endpoint)}",
                f"use {' or '.join(SLOTS)} and an index below {len(room)}, or raise 'capacity' in the estate file "
                "and the number of servers in haproxy.cfg",
            )
        if not _is_address(endpoint.address):
            raise self._refused(
                f"{endpoint.address} of {_key(endpoint)} is no address that HAProxy can be told",
                "have the runtime report IP address and port of its instances",
            )
        if not _HEALTH_PATH.fullmatch(endpoint.health_path):
            raise self._refused(
                f"the readiness path {endpoint.health_path!r} of {_key(endpoint)} cannot be told to HAProxy",
                "use letters, digits and / . ~ ? = & % + : @ , - only",
            )

    def _prepare(self, endpoint: Endpoint) -> None:
        """The server is checked at its new address, and gets no request before its state is set to ready.

        HAProxy takes a server that leaves maintenance for up until a check fails, so it leaves into draining, and is
        declared down first.
        """
        slot, index = endpoint.slot, endpoint.index
        self._tell_server(slot, index, "state maint", _ADMITTING)
        self._set_address(slot, index, endpoint.address, _ADMITTING)
        self._api.set_map(self._names.health_map, _key(endpoint), endpoint.health_path, state=_ADMITTING)
        self._api.tell(f"enable health {self._names.server(slot, index)}", state=_ADMITTING)
        for what in ("weight 100%", "state drain", "health down"):
            self._tell_server(slot, index, what, _ADMITTING)

    def _await_up(self, endpoints: Sequence[Endpoint]) -> None:
        def down() -> list[Endpoint]:
            servers = {slot: self._servers(slot) for slot in {each.slot for each in endpoints}}
            return [each for each in endpoints if not servers[each.slot][each.index].up]

        if not _poll(lambda: not down(), self._settings.up_within_s):
            failing = down()
            loads = {slot: self._loads(slot) for slot in {each.slot for each in failing}}
            raise Retryable(
                f"HAProxy did not find {', '.join(map(_key, failing))} up within {self._settings.up_within_s:g} s",
                on=self._on,
                state="the members that are not up get no requests; weights are as before",
                next_action="see why the readiness probe fails; then run this again, or roll back",
                facts={
                    f"check of {_key(each)}": f"{each.address}{each.health_path}: {loads[each.slot][each.index].check}"
                    for each in failing
                },
            )

    def _set_address(self, slot: str, index: int, address: str, state: str) -> None:
        host, _, port = address.rpartition(":")
        server = self._names.server(slot, index)
        command = f"set server {server} addr {host.strip('[]')} port {port}"
        self._api.tell(command, answer=_ADDRESS_ANSWER, state=state)

    def _tell_server(self, slot: str, index: int, what: str, state: str) -> None:
        self._api.tell(f"set server {self._names.server(slot, index)} {what}", state=state)

    def _share(self) -> int | None:
        found = self._api.map(self._names.share_map).get(SHARE_KEY)
        if found is None:
            return None
        if not re.fullmatch(r"\d{1,6}", found, re.ASCII) or int(found) > WHOLE:
            raise Unsafe(
                f"HAProxy's share map says {found!r} for green",
                on=self._on,
                state="unknown how the traffic is shared",
                next_action=f"find out who wrote it; shifting again puts it right (0 to {WHOLE} is allowed)",
            )
        return int(found)

    def _servers(self, slot: str) -> dict[int, Server]:
        _, servers = self._api.servers(self._names.backend(slot))
        return _by_index(servers)

    def _loads(self, slot: str) -> dict[int, Load]:
        return _by_index(self._api.loads(self._names.backend(slot)))

    def _members(self) -> tuple[Member, ...]:
        return tuple(
            Member(slot, index, server.address, server.admission, server.up, loads[index].open_requests)
            for slot in SLOTS
            for loads in (self._loads(slot),)
            for index, server in sorted(self._servers(slot).items())
            if server.admission is not Admission.OUT
        )

    def _open_requests(self, slot: str, indexes: Sequence[int]) -> int:
        if not indexes:
            return 0
        loads = self._loads(slot)
        return sum(loads[index].open_requests for index in indexes)

    def _persist_members(self) -> None:
        paths = self._api.map(self._names.health_map)
        with self._fence.changing():
            files.write_health_map(self._names, paths)
        for slot in SLOTS:
            text, _ = self._api.servers(self._names.backend(slot))
            with self._fence.changing():
                files.write_servers(self._names.servers_file(slot), text)

    def _persisted(self) -> bool:
        maps = (self._names.share_map, self._names.health_map)
        if any(files.read_map(path) != self._api.map(path) for path in maps):
            return False
        for slot in SLOTS:
            persisted = files.read_servers(self._names.servers_file(slot))
            _, running = self._api.servers(self._names.backend(slot))
            if persisted is None or not files.same_members(persisted, running):
                return False
        return True

    def _refused(self, what: str, next_action: str) -> Refused:
        return Refused(what, on=self._on, next_action=next_action)

    def _differs(self, wanted: str, found: str) -> Unsafe:
        return Unsafe(
            "HAProxy does not say what it was told",
            on=self._on,
            state="unknown who gets the traffic",
            next_action="find out who else writes to the runtime socket; then run this again",
            facts={"told": wanted, "says": found},
        )


def _key(endpoint: Endpoint) -> str:
    return f"{endpoint.slot}/s{endpoint.index}"


def _by_index(found: Mapping[str, T]) -> dict[int, T]:
    """Return what stands at the server lines 's0', 's1' and so on; other lines are not Slipway's."""
    return {int(match[1]): each for name, each in found.items() if (match := re.fullmatch(r"s(\d+)", name))}


def _is_address(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
        return 0 < int(port) < 65536
    except ValueError:
        return False


def _poll(done: Callable[[], bool], within_s: float) -> bool:
    """Return whether it was done in time; it is looked at once at least."""
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
