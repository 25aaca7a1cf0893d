"""The configuration files by which supervisord runs instances: written, and read back to know what runs.

A file starts with a comment that holds what `observe` needs. Command, folder and environment are handed to a one-line
launcher in base64 of JSON: supervisord's files cannot express every value (quotes of both kinds, line ends, ' ;',
'%(here)s'), and supervisord would hand its own environment on to its children. The launcher replaces itself with the
command, given exactly the environment that is written here.

The resolved secrets stand in that part, since an instance must come back without Slipway. Base64 hides nothing: what
protects them is that the file can be read by its owner alone (mode 0600), who is the user that runs supervisord.
"""

import base64
import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from blocks.fence import Fence
from blocks.files import sync
from tasks.common.errors import Retryable, Unsafe
from tasks.common.model import Resources, StrictModel

_MARK = "; slipway: "
_TAIL_BYTES = 64 * 2**10
_LAUNCH = 'environment=SLIPWAY_LAUNCH="'
_LAUNCHER = (
    "import base64,json,os;"
    'a=json.loads(base64.b64decode(os.environ["SLIPWAY_LAUNCH"]));'
    'os.chdir(a["directory"]);'
    'os.execvpe(a["command"][0],a["command"],a["env"])'
)


class Program(StrictModel):
    """What Slipway knows of one instance. Kept in the clear: no secrets, but their variables' names."""

    service: str
    environment: str
    slot: str
    index: int
    release: str
    port: int
    probe_path: str
    probe_every_s: float
    probe_timeout_s: float
    start_delay_s: float
    ready_within_s: float
    secret_variables: tuple[str, ...]
    log_from_bytes: int
    """Where in the log this instance starts; what stands before was written by an earlier one."""

    @property
    def name(self) -> str:
        """Return supervisord's name for it."""
        return program_name(self.service, self.environment, self.slot, self.index)

    @property
    def address(self) -> str:
        """Return 'host:port'."""
        return f"127.0.0.1:{self.port}"


class Launch(StrictModel):
    """What the instance's process is given, secrets included: never shown, never logged."""

    command: tuple[str, ...]
    directory: str
    env: dict[str, str]


@dataclass(frozen=True)
class Supervision:
    """How supervisord looks after an instance.

    Args:
        python: interpreter that runs the launcher; the instance's user must be able to read it.
        log: file that its output goes to.
        user: whom it runs as; None for supervisord's own user.
        stop_wait_s: supervisord kills it this long after it was asked to stop.
    """

    python: str
    log: Path
    user: str | None
    stop_wait_s: int


def program_name(service: str, environment: str, slot: str, index: int) -> str:
    """Return supervisord's name for an instance."""
    return f"{service}-{environment}-{slot}-{index}"


def render(program: Program, launch: Launch, supervision: Supervision) -> str:
    """Return the text of the configuration file."""
    packed = base64.b64encode(launch.model_dump_json().encode()).decode()
    command = f"{shlex.quote(supervision.python)} -I -S -X utf8 -c {shlex.quote(_LAUNCHER)}"
    lines = [
        _MARK + program.model_dump_json(),
        "; Written by Slipway. Holds resolved secrets: readable by its owner alone.",
        f"[program:{program.name}]",
        f"command={_escape(command)}",
        f'{_LAUNCH}{packed}"',
        "autostart=true",
        "autorestart=unexpected",
        "exitcodes=0",
        "startsecs=1",
        "startretries=3",
        "stopsignal=TERM",
        f"stopwaitsecs={supervision.stop_wait_s}",
        "stopasgroup=true",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_escape(str(supervision.log))}",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=3",
    ]
    if supervision.user is not None:
        lines.append(f"user={_escape(supervision.user)}")
    return "\n".join(lines) + "\n"


def limits(resources: Resources) -> list[str]:
    """Return what stands in front of a command to limit what it may take; nothing if there are no limits."""
    found = []
    if resources.memory_bytes is not None:
        found.append(f"--as={resources.memory_bytes}")
    if resources.open_files is not None:
        found.append(f"--nofile={resources.open_files}")
    return ["prlimit", *found] if found else []


def tail(log: Path, start_bytes: int, lines: int) -> str:
    """Return the last lines of a log that were written after its first start_bytes; nothing if it cannot be read."""
    try:
        with log.open("rb") as content:
            size = content.seek(0, os.SEEK_END)
            # A shorter log has been rotated since: all of it is new.
            start = start_bytes if start_bytes <= size else 0
            content.seek(max(start, size - _TAIL_BYTES))
            text = content.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _escape(text: str) -> str:
    return text.replace("%", "%%")


class ProgramFiles:
    """The folder of configuration files, which supervisord includes as *.conf. Others may keep files there, too.

    Args:
        folder: the folder.
        fence: what every change of a file goes through.
    """

    def __init__(self, folder: Path, fence: Fence) -> None:
        self._folder = folder
        self._fence = fence

    def of(self, service: str, environment: str) -> dict[str, Program]:
        """Return the instances of a service in an environment, by name.

        Raises:
            Retryable: a file cannot be read.
            Unsafe: a file of Slipway's cannot be understood.
        """
        found = {}
        for path in sorted(self._folder.glob(f"{service}-{environment}-*.conf")):
            program = self.find(path.stem)
            # Names may contain dashes, so that the file's name alone does not tell whose it is.
            if program is not None and (program.service, program.environment) == (service, environment):
                found[program.name] = program
        return found

    def find(self, name: str) -> Program | None:
        """Return the instance of that name; None if there is no file, or Slipway has not written it.

        Raises:
            Retryable: the file cannot be read.
            Unsafe: the file is Slipway's and cannot be understood.
        """
        mark, _, text = self._read(name).partition("\n")[0].partition(_MARK)
        if mark or not text:
            return None
        try:
            return Program.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged(name) from error

    def launch(self, name: str) -> Launch | None:
        """Return what the instance's process was given, with its secrets; None if there is no file.

        Raises:
            Retryable: the file cannot be read.
            Unsafe: the file cannot be understood.
        """
        text = self._read(name)
        if not text:
            return None
        packed = text.partition(_LAUNCH)[2].partition('"')[0]
        try:
            return Launch.model_validate_json(base64.b64decode(packed))
        except ValueError:
            # Without its cause, which would show the secrets.
            raise self._damaged(name) from None

    def write(self, name: str, text: str) -> None:
        """The file holds the text, and only its owner can read it; nobody ever sees half of it.

        *Idempotent:* yes.

        Raises:
            LeaseLost: there is a newer lease.
            Retryable: the file cannot be written.
        """
        # Not *.conf, so that supervisord does not include it.
        temporary = self._folder / f".{name}.{secrets.token_hex(4)}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(text.encode())
                    sync(file)
                with self._fence.changing():
                    temporary.replace(self._path(name))
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._not_accessible("written", self._path(name), error) from error

    def remove(self, name: str) -> None:
        """The file does not exist any more.

        *Idempotent:* yes.

        Raises:
            LeaseLost: there is a newer lease.
            Retryable: the folder cannot be written to.
        """
        try:
            with self._fence.changing():
                self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._not_accessible("removed", self._path(name), error) from error

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.conf"

    def _read(self, name: str) -> str:
        try:
            return self._path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._not_accessible("read", self._path(name), error) from error

    def _not_accessible(self, verb: str, path: Path, error: OSError) -> Retryable:
        return Retryable(
            f"a program's configuration file cannot be {verb}: {error.strerror}",
            on=str(path),
            next_action="run Slipway's worker as the user that runs supervisord, and see that the disk is not full",
        )

    def _damaged(self, name: str) -> Unsafe:
        return Unsafe(
            "a program's configuration file, written by Slipway, cannot be understood",
            on=str(self._path(name)),
            state="which release the instance runs is not known",
            next_action=f"look at the file; if it was changed by hand, undo that, else remove it and run "
            f"'supervisorctl stop {name}', 'supervisorctl remove {name}', and then the reconcile flow",
        )
