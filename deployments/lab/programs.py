"""The lab's servers: what supervisord starts, and with which environment."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.lab import files, postgresql
from deployments.lab.files import Program
from tasks.common.errors import Refused

if TYPE_CHECKING:
    from deployments.lab.lab import Lab

LOAD_PER_S = 150
AUTH = "prefect-auth"
"""Secret by which clients and the Prefect server know each other."""


def programs(lab: "Lab", code: Path) -> list[Program]:
    """Return them all; none is started by supervisord itself.

    Args:
        lab: where they run.
        code: folder of the code that has started the lab: that runs, wherever another one is installed.
    """
    ports, run, bin_folder = lab.ports, lab.run_folder, Path(sys.executable).parent
    database = f"postgresql+asyncpg://prefect:{lab.secret('prefect')}@127.0.0.1:{ports['postgresql']}/prefect"
    environment = {**lab.environment(), "PATH": f"{bin_folder}:{os.environ['PATH']}", "PYTHONPATH": str(code)}
    slipway = [sys.executable, "-m", "deployments.cli"]
    return [
        database_program(lab.home / "postgresql", ports["postgresql"], run / "postgresql"),
        Program("haproxy", [_program("haproxy"), "-W", "-f", str(lab.home / "haproxy.cfg")], {}),
        Program(
            "prometheus",
            [
                _program("prometheus"),
                f"--config.file={lab.home}/prometheus.yml",
                f"--storage.tsdb.path={lab.home}/prometheus",
                "--storage.tsdb.retention.time=1d",
                f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            ],
            {},
        ),
        Program("heartbeat", [*slipway, "heartbeat", f"file:{lab.home}/secrets/campus-production-dsn"], environment),
        Program(
            "load",
            [
                sys.executable,
                "-m",
                "deployments.lab.load",
                f"--url=http://127.0.0.1:{ports['production']}",
                f"--rate={LOAD_PER_S}",
                f"--out={lab.load_file}",
            ],
            {},
        ),
        Program(
            "prefect-server",
            [
                str(bin_folder / "prefect"),
                *("server", "start", "--host", "127.0.0.1", "--port", str(ports["prefect"])),
            ],
            {
                **environment,
                "PREFECT_API_DATABASE_CONNECTION_URL": database,
                "PREFECT_SERVER_API_AUTH_STRING": lab.secret(AUTH),
            },
        ),
        Program(
            "prefect-worker",
            [*slipway, "worker", "--name", "lab", "--folder", str(run / "worker")],
            environment,
            # It tells Prefect's worker itself: a second signal would kill that.
            group_is_asked=False,
        ),
        Program(
            "receiver",
            [*slipway, "receive", "--port", str(ports["receiver"]), "--inside-port", str(ports["receiver_inside"])],
            environment,
        ),
    ]


def database_program(data: Path, port: int, sockets: Path) -> Program:
    """Return PostgreSQL as supervisord runs it; one whose postmaster was killed is started again."""
    command = [*files.DEAF, *postgresql.server_command(data, port, sockets)]
    return Program("postgresql", command, {}, stop_signal="INT")


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise Refused(
            f"{name} is not installed", on="this machine", next_action="'make install' installs what the lab needs"
        )
    return found
