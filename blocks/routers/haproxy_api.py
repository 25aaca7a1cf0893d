"""HAProxy's runtime API: one command a connection, limited in time, answers read strictly."""

import csv
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from blocks.fence import Fence
from tasks.common.errors import Refused, Retryable, Unsafe
from tasks.rollout.model import Admission

_FORCED_MAINTENANCE = 0x01
_RESOLVED_MAINTENANCE = 0x20
_FORCED_DRAIN = 0x08
_UP = (1, 2)  # warming up, running
_RENDER = "take the sections that Slipway renders for this service into haproxy.cfg, then reload"
_REFUSALS = {
    "Permission denied": "the runtime socket does not allow it; give its 'stats socket' line 'level admin'",
    "No such backend.": _RENDER,
    "Can't find backend.": _RENDER,
    "No such proxy.": _RENDER,
    "No such server.": "render haproxy.cfg again with the estate file's capacity, then reload",
    "Unknown map identifier.": "check that HAProxy and the estate file name the same state folder, then reload",
}


@dataclass(frozen=True)
class Server:
    """One server line of HAProxy, as it runs or as it was persisted."""

    name: str
    address: str
    admission: Admission
    up: bool


@dataclass(frozen=True)
class Load:
    """What a server does: its open and queued requests, and its last health check in HAProxy's words."""

    open_requests: int
    check: str


class RuntimeApi:
    """Speaks to one HAProxy process.

    Args:
        path: its UNIX socket.
        timeout_s: longest wait for the whole answer to one command.
        fence: what every command that changes something goes through.
    """

    def __init__(self, path: Path, timeout_s: float, fence: Fence) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._fence = fence

    def ask(self, command: str, *, state: str = "nothing was changed") -> str:
        """Return the answer without the line ends around it.

        Args:
            command: one command.
            state: what is true if it fails.

        Raises:
            Refused: there is no socket, or HAProxy refuses the command.
            Retryable: nobody answers in time.
        """
        try:
            answer = self._exchange(command)
        except (FileNotFoundError, PermissionError) as error:
            raise Refused(
                f"HAProxy's runtime socket cannot be used: {error.strerror}",
                on=str(self._path),
                state=state,
                next_action="start HAProxy, or correct 'socket' in the estate file; the worker's user needs access",
            ) from error
        except OSError as error:
            raise Retryable(
                f"HAProxy does not answer: {error.strerror or error}",
                on=str(self._path),
                state=state,
                next_action="look whether HAProxy runs and what it logged last, then run this again",
                facts={"command": command},
            ) from error
        for beginning, next_action in _REFUSALS.items():
            if answer.startswith(beginning):
                raise Refused(
                    f"HAProxy refuses: {answer}",
                    on=str(self._path),
                    state=state,
                    next_action=next_action,
                    facts={"command": command},
                )
        return answer

    def tell(self, command: str, *, answer: str = "", state: str = "nothing was changed") -> str:
        """HAProxy has done it under the newest lease; returns its answer, all of the regular expression `answer`.

        Raises:
            LeaseLost: there is a newer lease; HAProxy was told nothing.
            Refused: there is no socket or no lease, or HAProxy refuses the command.
            Retryable: nobody answers in time, or another process does not end its change.
            Unsafe: any other answer than the expected one.
        """
        with self._fence.changing():
            found = self.ask(command, state=state)
        if not re.fullmatch(answer, found):
            raise unknown_answer(self._path, command, found)
        return found

    def servers(self, backend: str) -> tuple[str, dict[str, Server]]:
        """Return the state of a backend's servers: the text to persist, and what it says by server."""
        command = f"show servers state {backend}"
        text = self.ask(command)
        try:
            return text, parse_servers(text)
        except ValueError as error:
            raise unknown_answer(self._path, command, text) from error

    def loads(self, backend: str) -> dict[str, Load]:
        """Return what a backend's servers do, by server."""
        command = f"show stat {backend} 4 -1"
        text = self.ask(command)
        try:
            rows = list(csv.DictReader(text.removeprefix("# ").splitlines(), strict=True))
            return {row["svname"]: _load(row) for row in rows}
        except (ValueError, KeyError, csv.Error) as error:
            raise unknown_answer(self._path, command, text) from error

    def map(self, path: Path) -> dict[str, str]:
        """Return what a map holds now."""
        command = f"show map {path}"
        text = self.ask(command)
        found: dict[str, str] = {}
        for line in text.splitlines():
            entry = re.fullmatch(r"0x[0-9a-f]+ (\S+) (\S+)", line)
            if entry is None or found.setdefault(entry[1], entry[2]) != entry[2]:
                raise unknown_answer(self._path, command, text)
        return found

    def set_map(self, path: Path, key: str, value: str, *, state: str) -> None:
        """The map holds the value under the key. *Idempotent:* yes."""
        missing = self.tell(f"set map {path} {key} {value}", answer=r"(entry not found\.)?", state=state)
        if missing:
            self.tell(f"add map {path} {key} {value}", state=state)

    def _exchange(self, command: str) -> str:
        deadline = time.monotonic() + self._timeout_s
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._timeout_s)
            connection.connect(str(self._path))
            connection.sendall(f"{command}\n".encode())
            answer = b""
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no end of the answer within {self._timeout_s:g} s")
                connection.settimeout(left)
                part = connection.recv(1 << 16)
                if not part:
                    break
                answer += part
        if not answer.endswith(b"\n"):
            raise ConnectionError("the answer broke off")
        return answer.decode(errors="replace").strip("\n")


def unknown_answer(path: Path, command: str, answer: str) -> Unsafe:
    """Return the error for an answer that is none of those that HAProxy is known to give."""
    return Unsafe(
        "HAProxy gave an answer that is not understood",
        on=str(path),
        state="unknown whether the command took effect",
        next_action="compare 'show servers state' and 'show map' on the runtime socket with what should be, "
        "and check HAProxy's version",
        facts={"command": command, "answer": answer[:2000] or "(nothing)"},
    )


def parse_servers(text: str) -> dict[str, Server]:
    """Return what 'show servers state' or a server-state file says, by server.

    Raises:
        ValueError: it is not in format 1.

    *Source:* HAProxy's management guide, 'show servers state'.
    """
    version, head, *rows = text.strip("\n").splitlines() or ["", ""]
    names = head.removeprefix("# ").split()
    if version != "1" or not head.startswith("# "):
        raise ValueError(f"expected format 1, found {version!r}")
    found = {}
    for row in rows:
        try:
            values = dict(zip(names, row.split(), strict=True))
            found[values["srv_name"]] = _server(values)
        except KeyError as error:
            raise ValueError(f"there is no column {error}") from error
    return found


def _server(values: dict[str, str]) -> Server:
    admin = int(values["srv_admin_state"])
    if admin & (_FORCED_MAINTENANCE | _RESOLVED_MAINTENANCE):
        admission = Admission.OUT
    elif admin & _FORCED_DRAIN or int(values["srv_uweight"]) == 0:
        admission = Admission.DRAINING
    else:
        admission = Admission.IN
    host, port = values["srv_addr"], int(values["srv_port"])
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Server(values["srv_name"], address, admission, int(values["srv_op_state"]) in _UP)


def _load(row: dict[str, str]) -> Load:
    status = "/".join(filter(None, (row["check_status"].removeprefix("* "), row["check_code"])))
    words = ": ".join(dict.fromkeys(filter(None, (row["check_desc"], row["last_chk"]))))
    return Load(int(row["scur"]) + int(row["qcur"]), f"{status} {words}".strip() or "no check has ended yet")
