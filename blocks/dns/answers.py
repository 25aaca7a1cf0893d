"""What drivers of DNS servers share: names and addresses are checked, and answers read as a client reads them."""

import ipaddress
import time
from collections.abc import Callable, Sequence

from blocks.dns import query
from tasks.common.errors import Refused, Retryable
from tasks.common.sites import Answer

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
SERVER = r"^\S+:\d{1,5}$"
"""How a DNS server is written: '10.2.0.4:53'."""
_WITHIN_S = 2.0
_SEEN_WITHIN_S = 5.0
_LOOK_EVERY_S = 0.1
_TTL_AT_MOST_S = 86_400


def place(server: str) -> tuple[str, int]:
    """Return a server's host and port."""
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def asked(server: tuple[str, int], name: str, where: str) -> Answer:
    """Return what the server answers to a client that asks it for the name.

    Raises:
        Retryable: it does not answer.
        Refused: it is not the server of that name.
    """
    try:
        found = query.ask(server, name, within_s=_WITHIN_S)
    except query.NoAnswer as error:
        raise Retryable(
            f"the DNS server does not answer: {error}",
            on=where,
            next_action="look whether it runs, and whether its port can be reached from here",
        ) from None
    except ValueError as error:
        raise Refused(str(error), on=where, next_action="correct the name") from None
    if found.code not in (query.NO_ERROR, query.NAME_ERROR) or not found.authoritative:
        raise Refused(
            f"it is not the server of {name}",
            on=where,
            next_action="see which zones it has; ask the server that has this one",
            facts={"response code": found.code, "authoritative": found.authoritative},
        )
    addresses = tuple(sorted({address for address, _ in found.records}))
    return Answer(name, addresses, min((ttl_s for _, ttl_s in found.records), default=0))


def checked(name: str, zone: str, addresses: Sequence[str], ttl_s: int, where: str) -> list[Address]:
    """Return the addresses, which a name of the zone may have for so long.

    Raises:
        Refused: the name is not in the zone, an address is none, or there is none.
    """
    problem, found = "", []
    try:
        found = [ipaddress.ip_address(address) for address in addresses]
    except ValueError as error:
        problem = str(error)
    if not problem and not found:
        problem = "no address was given"
    if not problem and not 1 <= ttl_s <= _TTL_AT_MOST_S:
        problem = f"a time to live of {ttl_s} s"
    if not in_zone(name, zone):
        problem = f"{name} is not in the zone {zone}"
    if problem:
        raise Refused(problem, on=where, next_action="correct the name, its addresses or its time to live")
    return found


def in_zone(name: str, zone: str) -> bool:
    """Return whether a name is in a zone."""
    return name.lower() == zone or name.lower().endswith(f".{zone}")


def await_answer(
    look: Callable[[], Answer], expected: Answer, where: str, next_action: str, *, within_s: float = _SEEN_WITHIN_S
) -> None:
    """The answer is as expected.

    Raises:
        Retryable: it is not in time.
    """
    deadline = time.monotonic() + within_s
    while (found := look()) != expected:
        if time.monotonic() > deadline:
            raise Retryable(
                f"{expected.name} is not answered as it was set",
                on=where,
                state=f"the change was taken; what is answered is {', '.join(found.addresses) or 'nothing'}",
                next_action=next_action,
            )
        time.sleep(_LOOK_EVERY_S)
