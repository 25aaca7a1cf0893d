"""Instances as processes of this machine, looked after by supervisord.

Instances are supervisord's children, so they outlive every Slipway process; a crashed one is started again. All that
Slipway needs to know stands in the programs' configuration files, which are read afresh each time.
"""

import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from blocks.context import Context
from blocks.fence import Fence
from blocks.files import system_errors
from blocks.runtimes.capacity import ThisMachine
from blocks.runtimes.ending import end
from blocks.runtimes.listening import holder, is_taken
from blocks.runtimes.placing import PlacedReleases
from blocks.runtimes.probing import past_start_delay, pause_s, ready
from blocks.runtimes.programs import Launch, Program, ProgramFiles, Supervision, limits, program_name, render, tail
from blocks.runtimes.supervisor_rpc import Process, State, Supervisor
from tasks.common.errors import Refused, Retryable
from tasks.common.model import StrictModel
from tasks.rollout.model import Health, Instance, Workload

_UP = (State.STARTING, State.RUNNING)
_LIVE = (State.STARTING, State.RUNNING, State.STOPPING, State.UNKNOWN)
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_TICK_S = 0.1
_LOG_LINES = 20

Port = Annotated[int, Field(ge=1, le=65535)]


class SupervisordRuntime(ThisMachine):
    """Runs the instances of one service in one environment under a supervisord that is there already.

    Slipway's worker must be the user that runs supervisord: it writes the programs' files, which hold resolved secrets
    and which nobody else can read.

    Args:
        settings: where supervisord is and where to keep things.
        context: whose instances; resolves secrets.
    """

    class Settings(StrictModel):
        """Settings of the driver `supervisord`."""

        socket: str = Field(description="supervisord's UNIX socket")
        programs: str = Field(description="folder whose *.conf supervisord includes")
        releases: str = Field(description="folder that releases are unpacked in")
        logs: str = Field(description="folder for what instances print")
        ports: dict[str, dict[str, list[Port]]] = Field(description="ports by service and slot, one for each instance")
        path: list[str] = Field(default_factory=list, description="folders in front of PATH of instances")
        user: str | None = Field(default=None, description="whom instances run as; supervisord's own user if not given")

        @model_validator(mode="after")
        def _ports_differ(self) -> Self:
            counts = Counter(port for slots in self.ports.values() for ports in slots.values() for port in ports)
            if twice := sorted(port for port, count in counts.items() if count > 1):
                raise ValueError(f"each port once in 'ports', and not {', '.join(map(str, twice))} again")
            return self

    def __init__(self, settings: Settings, context: Context) -> None:
        assert context.target is not None, "a runtime serves one service in one environment"
        self._target = context.target
        self._settings = settings
        self._secrets = context.secrets
        self._ports = settings.ports.get(self._target.service, {})
        self._path = os.pathsep.join([*(str(context.resolve(folder)) for folder in settings.path), _SYSTEM_PATH])
        self._logs = context.resolve(settings.logs)
        programs = context.resolve(settings.programs)
        releases = context.resolve(settings.releases) / self._target.service / self._target.environment
        self._fences = tuple(
            Fence(file, context.grant, str(self._target), makes_folder=True)
            # No name has an underline, so that no two targets have the same file.
            for file in (
                programs / f"{self._target.service}_{self._target.environment}.fence",
                releases.with_name(f"{self._target.environment}.fence"),
            )
        )
        self._supervisor = Supervisor(context.resolve(settings.socket), self._fences[0])
        self._files = ProgramFiles(programs, self._fences[0])
        self._placed = PlacedReleases(releases, self._fences[1])
        self._disk = releases

    def observe(self) -> tuple[Instance, ...]:
        """Return every instance that exists, whatever its health, by slot and index.

        Raises:
            Retryable: supervisord does not answer.
            Unsafe: a program's file cannot be understood.
        """
        processes = self._supervisor.processes()
        return tuple(
            Instance(program.slot, program.index, program.release, program.address, health)
            for program, health in self._health(self._own(), processes)
        )

    def claim(self) -> None:
        """No holder of an older lease can change any program or release of this service in this environment any more.

        Supervisord itself is not asked, and need not run.

        *Idempotent:* yes.

        Raises:
            LeaseLost: the holder of a newer lease has been here.
            Refused: nobody holds a lease, or a folder cannot be written to.
            Retryable: another process does not end its change.
        """
        for fence in self._fences:
            fence.claim()

    def place(self, workload: Workload, archive: Path) -> None:
        """The release is unpacked where its instances will be started from.

        *Idempotent:* yes; a half-placed release is never taken for a placed one.

        Raises:
            Refused: the archive's digest is not the workload's, or it cannot be unpacked.
            Retryable: the system was short of something for a moment.
        """
        self.claim()
        self._placed.place(archive, workload.release, workload.digest)

    def start(self, slot: str, indexes: Sequence[int], workload: Workload) -> None:
        """The instances have been started; whether they are ready is for `await_ready`.

        Everything that can be refused is refused before anything is changed, but for a port that is still taken after
        a failing instance was ended.

        *Idempotent:* yes: an instance that runs this release is left alone, a dead or failing one is replaced.

        Raises:
            Refused: the release is not placed, the slot has no such index, a port is taken by somebody else (named),
                a secret cannot be resolved, the index runs another release (stop it first), the name belongs to
                another environment, or supervisord refuses its configuration.
            Retryable: supervisord does not answer.
        """
        self.claim()
        folder = self._placed.find(workload.release, workload.digest)
        if folder is None:
            raise self._refused(
                f"release {workload.release} is not placed", next_action="place the release, then start it"
            )
        self._require_ports(slot, indexes)
        processes = self._supervisor.processes()
        todo = self._to_start(slot, indexes, workload.release, processes)
        if not todo:
            return
        resolved = {variable: self._secrets.resolve(ref) for variable, ref in sorted(workload.secrets.items())}
        live = [index for index in todo if _state(processes.get(self._name(slot, index))) in _LIVE]
        self._require_free(slot, [index for index in todo if index not in live])
        names = [self._name(slot, index) for index in todo]
        end(self._supervisor, names, workload.drain_s)
        self._require_free(slot, live)
        self._write(slot, todo, workload, folder, resolved)
        self._reread(names)
        for name in names:
            self._supervisor.add(name)

    def await_ready(self, slot: str, indexes: Sequence[int], probes_within_s: float) -> None:
        """Every instance answers its readiness probe with 2xx.

        Raises:
            Retryable: one is not ready in time, does not exist, or has died (also if it was started again since); the
                facts carry its last log lines, redacted.
        """
        began = asked = time.monotonic()
        names = [self._name(slot, index) for index in indexes]
        programs = {name: program for name in names if (program := self._files.find(name)) is not None}
        waiting = dict(programs)
        first_pids: dict[str, int] = {}
        while True:
            processes = self._supervisor.processes()
            for name in names:
                process = processes.get(name)
                pid = process.pid if process is not None and process.state in _UP else 0
                if name not in programs:
                    raise self._not_ready("does not exist", name, None, process)
                if pid == 0 or pid != first_pids.setdefault(name, pid):
                    raise self._not_ready("died before it was ready", name, programs[name], process)
            now = time.monotonic()
            if now >= asked:
                for name in ready(past_start_delay(waiting.values(), processes)):
                    del waiting[name]
                asked = now + pause_s(waiting.values(), now - began)
            if not waiting:
                return
            if now - began >= probes_within_s:
                late = next(iter(waiting))
                raise self._not_ready(
                    f"was not ready within {probes_within_s:g} s", late, waiting[late], processes[late]
                )
            time.sleep(_TICK_S)

    def stop(self, slot: str, indexes: Sequence[int], grace_s: float) -> None:
        """The instances do not exist any more: asked to end, killed with their children after grace_s seconds.

        Supervisord itself kills after the drain time that the instance was started with, if that is over first.

        *Idempotent:* yes.

        Raises:
            Retryable: supervisord does not answer, or an instance cannot be killed.
            Refused: the name belongs to another environment.
        """
        self.claim()
        for index in indexes:
            self._find_own(slot, index)
        names = [self._name(slot, index) for index in indexes]
        end(self._supervisor, names, grace_s)
        for name in names:
            self._files.remove(name)

    def forget(self, keep: Collection[str]) -> tuple[str, ...]:
        """Placed releases that are neither in `keep` nor run are removed; their names are returned.

        *Idempotent:* yes.

        Raises:
            Refused: no right to remove them.
            Retryable: the system was short of something for a moment.
        """
        self.claim()
        return self._placed.remove_all_but({*keep, *(program.release for program in self._own())})

    def _name(self, slot: str, index: int) -> str:
        return program_name(self._target.service, self._target.environment, slot, index)

    def _own(self) -> list[Program]:
        programs = self._files.of(self._target.service, self._target.environment).values()
        return sorted(programs, key=lambda program: (program.slot, program.index))

    def _find_own(self, slot: str, index: int) -> Program | None:
        """Return the instance's program; refuse if its name means an instance of somebody else."""
        program = self._files.find(self._name(slot, index))
        if program is None:
            return None
        if (program.service, program.environment) != (self._target.service, self._target.environment):
            raise self._refused(
                f"the program name {program.name} belongs to {program.service} in {program.environment}",
                next_action="give one of the two environments a supervisord of its own, or another name",
            )
        return program

    def _health(self, programs: Sequence[Program], processes: dict[str, Process]) -> Iterable[tuple[Program, Health]]:
        up = [program for program in programs if _state(processes.get(program.name)) in _UP]
        answering = ready(past_start_delay(up, processes))
        for program in programs:
            process = processes.get(program.name)
            if process is None or process.state not in _LIVE:
                yield program, Health.DEAD
            elif program.name in answering:
                yield program, Health.READY
            elif process.state in _UP and process.age_s < program.ready_within_s:
                yield program, Health.STARTING
            else:
                yield program, Health.FAILING

    def _require_ports(self, slot: str, indexes: Sequence[int]) -> None:
        ports = self._ports.get(slot, [])
        if beyond := sorted(index for index in indexes if not 0 <= index < len(ports)):
            raise self._refused(
                f"slot {slot} has no index {', '.join(map(str, beyond))}: it has {len(ports)} ports",
                next_action=f"add ports to the runtime's ports.{self._target.service}.{slot} in the estate file",
            )

    def _to_start(self, slot: str, indexes: Sequence[int], release: str, processes: dict[str, Process]) -> list[int]:
        """Return the indexes without a sound instance of the release; refuse those that run another one."""
        programs = [program for index in indexes if (program := self._find_own(slot, index)) is not None]
        sound = set()
        for program, health in self._health(programs, processes):
            if health is not Health.DEAD and program.release != release:
                raise self._refused(
                    f"{slot}/{program.index} runs release {program.release}",
                    next_action=f"stop it first, then start {release}",
                )
            if health in (Health.READY, Health.STARTING):
                sound.add(program.index)
        return [index for index in dict.fromkeys(indexes) if index not in sound]

    def _require_free(self, slot: str, indexes: Sequence[int]) -> None:
        for index in indexes:
            port = self._ports[slot][index]
            if is_taken(port):
                raise self._refused(
                    f"port {port}, which {slot}/{index} needs, is taken by somebody else",
                    state="no new instance was started",
                    next_action="end that process, or give the instance another port in the estate file",
                    facts={"held by": holder(port)},
                )

    def _write(
        self, slot: str, indexes: Sequence[int], workload: Workload, folder: Path, resolved: dict[str, str]
    ) -> None:
        with system_errors("the folder for logs cannot be made", self._logs):
            self._logs.mkdir(parents=True, exist_ok=True)
        for index in indexes:
            program = self._program(slot, index, workload)
            launch = Launch(
                command=(*limits(workload.resources), *workload.command),
                directory=str(folder),
                env=self._environment(program, workload, folder, resolved),
            )
            supervision = Supervision(
                python=shutil.which("python3", path=self._path) or sys.executable,
                log=self._log(program.name),
                user=self._settings.user,
                stop_wait_s=max(1, math.ceil(workload.drain_s)),
            )
            self._files.write(program.name, render(program, launch, supervision))

    def _program(self, slot: str, index: int, workload: Workload) -> Program:
        log = self._log(self._name(slot, index))
        return Program(
            service=self._target.service,
            environment=self._target.environment,
            slot=slot,
            index=index,
            release=workload.release,
            port=self._ports[slot][index],
            probe_path=workload.probes.readiness.path,
            probe_every_s=workload.probes.readiness.every_s,
            probe_timeout_s=workload.probes.readiness.timeout_s,
            start_delay_s=workload.probes.start_delay_s,
            ready_within_s=workload.probes.ready_within_s,
            secret_variables=tuple(sorted(workload.secrets)),
            log_from_bytes=log.stat().st_size if log.exists() else 0,
        )

    def _environment(
        self, program: Program, workload: Workload, folder: Path, resolved: dict[str, str]
    ) -> dict[str, str]:
        return {
            "PATH": self._path,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            **workload.env,
            **resolved,
            workload.port_variable: str(program.port),
            "SLIPWAY_RELEASE": program.release,
            "SLIPWAY_SERVICE": program.service,
            "SLIPWAY_ENVIRONMENT": program.environment,
            "SLIPWAY_SLOT": program.slot,
        }

    def _reread(self, names: Sequence[str]) -> None:
        """Have supervisord read the new files; if it refuses, take them away, lest nothing can be started any more."""
        try:
            self._supervisor.reread()
        except Refused as refusal:
            for name in names:
                self._files.remove(name)
            refusal.state = "no new instance was started; what was written has been taken back"
            raise

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _not_ready(self, what: str, name: str, program: Program | None, process: Process | None) -> Retryable:
        facts: dict[str, object] = {"supervisord": "does not know it"}
        if process is not None:
            facts = {"supervisord": f"{process.state.name} {process.description}".strip()}
        if program is not None:
            facts |= {"release": program.release, "log": self._log(name)}
            facts |= {"last lines": self._last_lines(name, program) or "(it printed nothing)"}
        return Retryable(
            f"instance {name} {what}",
            on=str(self._target),
            state="it was left as it is; the router was not touched",
            next_action="read its last lines for the cause, then roll back, or start it again",
            facts=facts,
        )

    def _last_lines(self, name: str, program: Program) -> str:
        """Return the end of what the instance printed, without secrets, whoever has started it."""
        launch = self._files.launch(name)
        if launch is None:
            return ""
        for variable in program.secret_variables:
            self._secrets.redactor.add(launch.env[variable])
        return self._secrets.redact(tail(self._log(name), program.log_from_bytes, _LOG_LINES))

    def _refused(
        self, what: str, *, next_action: str, state: str = "nothing was changed", facts: dict[str, object] | None = None
    ) -> Refused:
        return Refused(what, on=str(self._target), state=state, next_action=next_action, facts=facts)


def _state(process: Process | None) -> State | None:
    return process.state if process is not None else None
