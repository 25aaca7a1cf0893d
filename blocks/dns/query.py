"""One question to one DNS server, as a client's resolver asks it: no cache, no second server, no search list.

*Source:* RFC 1035, sections 4.1 (messages) and 4.2 (UDP and TCP); RFC 3596 for AAAA.
"""

import ipaddress
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

_IN, _A, _AAAA = 1, 1, 28
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_RESPONSE, _AUTHORITATIVE, _CUT = 0x8000, 0x0400, 0x0200
_LABEL_AT_MOST, _NAME_AT_MOST = 63, 253
_UDP_BYTES = 4096
_EACH_S = 1.0
NO_ERROR, NAME_ERROR = 0, 3


class NoAnswer(Exception):
    """The server did not answer in time, or not with anything that answers the question."""


@dataclass(frozen=True)
class Response:
    """What a server answered.

    Args:
        code: 0 for no error, 3 for no such name, 5 for refused.
        authoritative: whether it is the server of that name.
        records: addresses with the seconds that they may be kept.
    """

    code: int
    authoritative: bool
    records: tuple[tuple[str, int], ...]


def ask(server: tuple[str, int], name: str, *, within_s: float) -> Response:
    """Return what the server answers for the name's IPv4 and IPv6 addresses.

    Raises:
        NoAnswer: it does not, in time.
        ValueError: it is no name.
    """
    deadline = time.monotonic() + within_s
    found = [_ask(server, name, kind, deadline) for kind in (_A, _AAAA)]
    code = next((each.code for each in found if each.code), NO_ERROR)
    return Response(code, all(each.authoritative for each in found), found[0].records + found[1].records)


def _ask(server: tuple[str, int], name: str, kind: int, deadline: float) -> Response:
    number = secrets.randbelow(0x10000)
    question = _encoded(name) + struct.pack("!2H", kind, _IN)
    message = _HEADER.pack(number, 0, 1, 0, 0, 0) + question
    error: Exception = TimeoutError("no time was left")
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            answer = _by_udp(server, message, number, min(left_s, _EACH_S))
            if _HEADER.unpack_from(answer)[1] & _CUT:
                answer = _by_tcp(server, message, deadline - time.monotonic())
            return _read(answer, number, question, kind)
        except TimeoutError as late:
            error = late
        except (OSError, struct.error, IndexError, ValueError) as wrong:
            raise NoAnswer(str(wrong) or type(wrong).__name__) from wrong
    raise NoAnswer("no answer in time") from error


def _by_udp(server: tuple[str, int], message: bytes, number: int, within_s: float) -> bytes:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    deadline = time.monotonic() + within_s
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        # Connected: only that server's packets are let in, and a closed port is told at once.
        channel.connect(server)
        channel.send(message)
        while (left_s := deadline - time.monotonic()) > 0:
            channel.settimeout(left_s)
            answer = channel.recv(_UDP_BYTES)
            if answer[:2] == struct.pack("!H", number):
                return answer
    raise TimeoutError("no answer in time")


def _by_tcp(server: tuple[str, int], message: bytes, within_s: float) -> bytes:
    with socket.create_connection(server, timeout=max(within_s, 0.01)) as channel, channel.makefile("rb") as stream:
        channel.sendall(struct.pack("!H", len(message)) + message)
        (length,) = struct.unpack("!H", stream.read(2))
        return stream.read(length)


def _read(answer: bytes, number: int, question: bytes, kind: int) -> Response:
    got, flags, questions, answers, _, _ = _HEADER.unpack_from(answer)
    end = _HEADER.size + len(question)
    if (
        got != number
        or not flags & _RESPONSE
        or questions != 1
        or answer[_HEADER.size : end].lower() != question.lower()
    ):
        raise ValueError("the answer is to another question")
    records = tuple(_records(answer, end, answers, kind))
    return Response(flags & 0xF, bool(flags & _AUTHORITATIVE), records)


def _records(answer: bytes, at: int, count: int, kind: int) -> Iterator[tuple[str, int]]:
    for _ in range(count):
        at = _after_name(answer, at)
        found, network, ttl_s, length = _RECORD.unpack_from(answer, at)
        at += _RECORD.size
        data = answer[at : at + length]
        if len(data) != length:
            raise ValueError("the answer is cut short")
        if (found, network) == (kind, _IN):
            yield str(ipaddress.ip_address(data)), ttl_s
        at += length


def _after_name(answer: bytes, at: int) -> int:
    while length := answer[at]:
        if length >= 0xC0:
            return at + 2
        at += 1 + length
    return at + 1


def _encoded(name: str) -> bytes:
    labels = name.rstrip(".").encode("ascii").split(b".")
    if len(name) > _NAME_AT_MOST or not all(0 < len(label) <= _LABEL_AT_MOST for label in labels):
        raise ValueError(f"{name!r} is no name of DNS")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
