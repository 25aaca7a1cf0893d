"""A running supervisord, spoken to over its UNIX socket. Its own errors end here."""

import contextlib
import http.client
import os
import signal
import socket
import xmlrpc.client
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from blocks.fence import Fence
from tasks.common.errors import Refused, Retryable

_TIMEOUT_S = 10.0


class State(IntEnum):
    """What supervisord says of a process.

    *Source:* supervisor.states.ProcessStates, https://supervisord.org/subprocess.html#process-states
    """

    STOPPED = 0
    STARTING = 10
    RUNNING = 20
    BACKOFF = 30
    STOPPING = 40
    EXITED = 100
    FATAL = 200
    UNKNOWN = 1000


class Fault(IntEnum):
    """Why supervisord refuses a call.

    *Source:* supervisor.xmlrpc.Faults
    """

    SHUTDOWN_STATE = 6
    BAD_NAME = 10
    NO_FILE = 20
    NOT_EXECUTABLE = 21
    SPAWN_ERROR = 50
    ALREADY_STARTED = 60
    NOT_RUNNING = 70
    ALREADY_ADDED = 90
    STILL_RUNNING = 91
    CANT_REREAD = 92


_LEFT_TO_OBSERVING = (Fault.ALREADY_STARTED, Fault.NO_FILE, Fault.NOT_EXECUTABLE, Fault.SPAWN_ERROR)


@dataclass(frozen=True)
class Process:
    """One process as supervisord sees it; `pid` is 0 when it does not run, `age_s` counts from its last start."""

    name: str
    state: State
    pid: int
    age_s: float
    description: str


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket, with a time limit: supervisor's own transport waits for a stuck server for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))


class Supervisor:
    """A running supervisord. It is never started, stopped or restarted from here.

    Args:
        path: its UNIX socket.
        fence: what every change of its programs goes through, which then can also raise what `Fence.changing` does;
            None for programs that no lease is about.
    """

    def __init__(self, path: Path, fence: Fence | None = None) -> None:
        self._path = path
        self._fence = fence

    def processes(self) -> dict[str, Process]:
        """Return every process that supervisord has, by the name of its group.

        Raises:
            Retryable: supervisord does not answer.
        """
        return {
            str(info["group"]): Process(
                name=str(info["name"]),
                state=State(info["state"]),
                pid=int(info["pid"]),
                age_s=float(info["now"] - info["start"]),
                description=str(info["spawnerr"] or info["description"]),
            )
            for info in self._call("getAllProcessInfo")
        }

    def reread(self) -> None:
        """Supervisord has read its configuration files again; what runs is as it was.

        *Idempotent:* yes.

        Raises:
            Refused: one of the files is wrong. Which, is not repeated here: supervisord quotes whole lines, with the
                secrets in them.
            Retryable: supervisord does not answer.
        """
        self._change("reloadConfig")

    def add(self, name: str) -> None:
        """The program, known since the last `reread`, has been started; how that went is seen by observing it.

        *Idempotent:* yes.

        Raises:
            Retryable: supervisord does not answer.
        """
        self._change("addProcessGroup", name, unless=(Fault.ALREADY_ADDED,))
        # It would start on its own within a second; asked for, it starts at once.
        self._change("startProcess", name, False, unless=_LEFT_TO_OBSERVING)

    def ask_to_stop(self, name: str) -> None:
        """The program has been sent its stop signal, and is not restarted any more.

        *Idempotent:* yes.

        Raises:
            Retryable: supervisord does not answer.
        """
        self._change("stopProcess", name, False, unless=(Fault.NOT_RUNNING, Fault.BAD_NAME))

    def kill(self, process: Process) -> None:
        """The process has been sent SIGKILL with all its children; alone, if it runs as a user that is not ours.

        *Idempotent:* yes.

        Raises:
            Retryable: supervisord does not answer.
        """
        try:
            with self._changing():
                # Supervisord makes every child the leader of a group, and by request kills the child alone.
                os.killpg(process.pid, signal.SIGKILL)
        except PermissionError:
            self._change("signalProcess", process.name, "KILL", unless=(Fault.NOT_RUNNING, Fault.BAD_NAME))
        except ProcessLookupError:
            return

    def remove(self, name: str) -> bool:
        """Return whether supervisord has forgotten the program; false if it runs again meanwhile.

        *Idempotent:* yes.

        Raises:
            Retryable: supervisord does not answer.
        """
        return self._change("removeProcessGroup", name, unless=(Fault.STILL_RUNNING,)) is not Fault.STILL_RUNNING

    def _changing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._fence is None else self._fence.changing()

    def _change(self, method: str, *args: object, unless: Collection[Fault] = ()) -> Any:
        with self._changing():
            return self._call(method, *args, unless=unless)

    def _call(self, method: str, *args: object, unless: Collection[Fault] = ()) -> Any:
        """Return the call's result, or the fault if it is one of `unless`."""
        try:
            return self._exchange(method, args)
        except xmlrpc.client.Fault as fault:
            for known in unless:
                if fault.faultCode == known:
                    return known
            raise self._refusal(method, fault) from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise Retryable(
                "supervisord does not answer",
                on=str(self._path),
                state="what runs is not known from here; instances do not need Slipway to go on",
                next_action="check that supervisord runs and listens on that socket, start it, and run the flow again",
                facts={"reason": f"{type(error).__name__}: {error}", "call": method},
            ) from error

    def _exchange(self, method: str, args: tuple[object, ...]) -> Any:
        connection = _UnixConnection(self._path)
        try:
            body = xmlrpc.client.dumps(args, f"supervisor.{method}")  # type: ignore[arg-type]
            connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
            response = connection.getresponse()
            answer = response.read()
            if response.status != http.client.OK:
                raise http.client.HTTPException(f"status {response.status} {response.reason}")
            return xmlrpc.client.loads(answer)[0][0]
        finally:
            connection.close()

    def _refusal(self, method: str, fault: xmlrpc.client.Fault) -> Refused | Retryable:
        if fault.faultCode == Fault.CANT_REREAD:
            return Refused(
                "supervisord refuses its configuration files",
                on=str(self._path),
                next_action="run 'supervisorctl reread' on the host to see which file is wrong, and mend or remove it",
            )
        return Retryable(
            f"supervisord did not carry out {method}",
            on=str(self._path),
            state="what has been done before this call stays done",
            next_action="look at 'supervisorctl status' and supervisord's log, and run the flow again",
            facts={"reason": fault.faultString},
        )
