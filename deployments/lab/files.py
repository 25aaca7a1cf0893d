"""The lab's configuration files, as text; and how one is written that only its owner may read."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

ENVIRONMENTS = {"staging": 1, "production": 2}
"""Replicas by environment, as the lab's estate file has them."""

SERVERS = (
    "postgresql",
    "haproxy_metrics",
    "prometheus",
    "prefect",
    "receiver",
    "receiver_inside",
    "staging",
    "production",
)
INSTANCES = tuple(
    f"{environment}_{slot}_{index}"
    for environment, replicas in ENVIRONMENTS.items()
    for slot in ("blue", "green")
    for index in range(replicas)
)
PORT_NAMES = SERVERS + INSTANCES
# As a service manager starts servers. supervisord keeps a pipe open as their standard input, which the backends of a
# PostgreSQL whose postmaster was killed wait on for ever: they hold its shared memory, and it cannot start again.
DEAF = ("sh", "-c", 'exec "$@" </dev/null', "sh")
"""What stands in front of a command that is to have no standard input."""


@dataclass(frozen=True)
class Program:
    """One server of the lab, as supervisord runs it.

    Args:
        name: as supervisord calls it.
        command: program and arguments.
        env: added to supervisord's own.
        stop_signal: what asks it to end.
        group_is_asked: whether its children are asked to end, too; what is left after 20 s is killed in any case.
        restarts: whether it is started again when it ends by itself.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    stop_signal: str = "TERM"
    group_is_asked: bool = True
    restarts: bool = True


def supervisord(run: Path, home: Path, programs: Sequence[Program]) -> str:
    """Return supervisord's configuration. It may hold secrets in `environment=`: only its owner may read it."""
    parts = [
        f"[supervisord]\npidfile={run}/supervisord.pid\nlogfile={home}/logs/supervisord.log\nchildlogdir={home}/logs\n"
        "logfile_maxbytes=10MB\nlogfile_backups=1\nminfds=4096\n",
        f"[unix_http_server]\nfile={run}/supervisord.sock\nchmod=0600\n",
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
        f"[include]\nfiles={home}/instances/*.conf\n",
    ]
    parts += [_program(program, home) for program in programs]
    return "\n".join(parts)


def _program(program: Program, home: Path) -> str:
    environment = ",".join(f'{name}="{_escaped(value)}"' for name, value in program.env.items())
    lines = [
        f"[program:{program.name}]",
        f"command={_escaped(shlex.join(program.command))}",
        f"directory={home}",
        f"environment={environment}",
        "autostart=false",
        f"autorestart={str(program.restarts).lower()}",
        "startretries=10",
        f"stopsignal={program.stop_signal}",
        "stopwaitsecs=20",
        f"stopasgroup={str(program.group_is_asked).lower()}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={home}/logs/{program.name}.log",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=1",
    ]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def prometheus(ports: Mapping[str, int]) -> str:
    """Return Prometheus's configuration: HAProxy and every instance of campus, once a second."""
    jobs = [_scrape("haproxy", [ports["haproxy_metrics"]])]
    for environment in ENVIRONMENTS:
        targets = [ports[name] for name in INSTANCES if name.startswith(f"{environment}_")]
        jobs.append(_scrape(f"campus-{environment}", targets, environment=environment))
    return "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n" + "".join(jobs)


def _scrape(job: str, ports: Sequence[int], **labels: str) -> str:
    targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    shown = "".join(f"          {name}: {value}\n" for name, value in labels.items())
    return f"  - job_name: {job}\n    static_configs:\n      - targets: [{targets}]\n" + (
        f"        labels:\n{shown}" if shown else ""
    )


def estate(template: str, ports: Mapping[str, int], **values: Path | str) -> str:
    """Return the lab's estate file, with ports and further values filled in by their names.

    Raises:
        KeyError: the template wants something that the lab does not have.
    """
    shown = {name: str(value) for name, value in (*ports.items(), *values.items())}
    return Template(template).substitute(shown)


def write_private(path: Path, text: str, owner: int | None = None) -> None:
    """The file has this text, and at no time could anybody but its owner read it. *Idempotent:* yes.

    Args:
        path: of the file.
        text: of it.
        owner: its user's number; None for this process's.
    """
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    if owner is not None:
        os.chown(new, owner, -1)
    new.replace(path)
