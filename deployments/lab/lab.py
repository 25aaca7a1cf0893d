"""The embedded environment: started, looked at and ended. Everything it keeps is under one folder, `var`."""

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import chain
from pathlib import Path

import httpx
import pyrage

from blocks import shell
from blocks.routers.haproxy_config import Exposed, render
from blocks.routers.haproxy_files import create_maps
from blocks.runtimes.supervisor_rpc import State, Supervisor
from deployments.lab import files, postgresql
from deployments.lab.programs import AUTH, programs
from deployments.worker.service import POOL
from tasks.common.errors import Refused, Retryable, Unsafe

ROOT = Path(__file__).resolve().parents[2]
_SUPERUSER = "lab"
_DATABASES = ("ledger", "prefect", "campus_test", "campus_staging", "campus_production")
_WEBHOOK = "webhook-github"
_BACKUP_KEY = "backup-key"
# Leaves room for what HAProxy appends while it binds, and for a scratch server's folder; Linux takes 107.
_SOCKET_PATH_AT_MOST = 66
# Below those that the system gives to connections: one of these could be taken before its server binds it.
_PORTS = range(25_000, 32_000)
_START_WITHIN_S = 120.0
_STOP_WITHIN_S = 40.0


class Lab:
    """The lab in a folder.

    Args:
        var: the folder; everything that the lab keeps is in its sub-folder `lab`.
    """

    def __init__(self, var: Path = ROOT / "var") -> None:
        self.var = var.absolute()
        self.home = self.var / "lab"

    @property
    def run_folder(self) -> Path:
        """Return the folder for sockets: in the lab where its path is short enough, else in the temporary folder."""
        here = self.home / "run"
        if len(str(here)) <= _SOCKET_PATH_AT_MOST:
            return here
        return Path(tempfile.gettempdir()) / f"slipway-{sha256(str(here).encode()).hexdigest()[:12]}"

    @property
    def estate_file(self) -> Path:
        """Return where the lab's estate file is."""
        return self.home / "estate.yaml"

    @property
    def campus_repository(self) -> Path:
        """Return where the demo keeps campus's repository."""
        return self.var / "demo" / "campus"

    @property
    def ports(self) -> dict[str, int]:
        """Return the lab's ports by name; empty before its first start."""
        path = self.home / "ports.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    @property
    def api_url(self) -> str:
        """Return the Prefect server's API address."""
        return f"http://127.0.0.1:{self.ports['prefect']}/api"

    @property
    def ui_url(self) -> str:
        """Return the Prefect UI's address."""
        return f"http://127.0.0.1:{self.ports['prefect']}"

    @property
    def auth_file(self) -> Path:
        """Return the file with the auth string that the Prefect server and its UI ask for."""
        return self.home / "secrets" / AUTH

    @property
    def headers(self) -> dict[str, str]:
        """Return what a request to the Prefect server needs."""
        shown = base64.b64encode(self.secret(AUTH).encode()).decode()
        return {"Authorization": f"Basic {shown}"}

    @property
    def receiver_url(self) -> str:
        """Return where webhooks are taken."""
        return f"http://127.0.0.1:{self.ports['receiver']}"

    @property
    def deliveries_url(self) -> str:
        """Return the page about what was delivered."""
        return f"http://127.0.0.1:{self.ports['receiver_inside']}"

    @property
    def supervisor(self) -> Supervisor:
        """Return the lab's supervisord."""
        return Supervisor(self.run_folder / "supervisord.sock")

    def is_up(self) -> bool:
        """Return whether the lab's supervisord answers."""
        if not (self.run_folder / "supervisord.sock").exists():
            return False
        try:
            self.supervisor.processes()
        except Retryable:
            return False
        return True

    def up(self, say: Callable[[str], None]) -> None:
        """The lab runs, all servers answer, and the deployments are on its Prefect server.

        *Idempotent:* yes; what runs is left alone, what is missing is started.

        Raises:
            Refused: a program is missing.
            Retryable: a server did not answer in time; names its log.
        """
        self._prepare_folders()
        if not self.is_up():
            self._pick_ports()
            self._write_files()
            self._start_supervisord()
        say("starting PostgreSQL, HAProxy and Prometheus")
        for name in ("postgresql", "haproxy", "prometheus"):
            self.supervisor.add(name)
        postgresql.wait_ready(self.ports["postgresql"])
        self._create_databases()
        self.supervisor.add("heartbeat")
        say("starting the Prefect server and a worker")
        self.supervisor.add("prefect-server")
        self._await("prometheus", f"http://127.0.0.1:{self.ports['prometheus']}/-/ready")
        self._await("haproxy", f"http://127.0.0.1:{self.ports['haproxy_metrics']}/metrics")
        self._await("prefect-server", f"{self.api_url}/health")
        self.supervisor.add("prefect-worker")
        self._await("prefect-worker", f"{self.api_url}/work_pools/{POOL}", self.headers)
        self._deploy()
        say("starting the receiver of webhooks")
        self.supervisor.add("receiver")
        self._await("receiver", f"{self.receiver_url}/health/ready")

    def down(self) -> bool:
        """Nothing of the lab runs any more; returns whether anything did. *Idempotent:* yes.

        Raises:
            Unsafe: a process did not end.
        """
        pid_file = self.run_folder / "supervisord.pid"
        pid = _pid_of(pid_file)
        if pid is None:
            self._remove_run_folder()
            return False
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WITHIN_S
        while _pid_of(pid_file) is not None:
            if time.monotonic() > deadline:
                raise Unsafe(
                    "the lab's supervisord does not end",
                    on=f"process {pid}",
                    state="some of the lab's servers may still run",
                    next_action=f"read {self.home}/logs/supervisord.log, then end process {pid} by hand",
                )
            time.sleep(0.1)
        self._remove_run_folder()
        return True

    @property
    def load_file(self) -> Path:
        """Return where the load generator counts."""
        return self.var / "demo" / "load.jsonl"

    def start_load(self) -> bool:
        """Open-loop load is sent to production; returns false while production does not answer. *Idempotent:* yes."""
        if not _answers(f"http://127.0.0.1:{self.ports['production']}/health/ready"):
            return False
        self.supervisor.add("load")
        return True

    def stop_load(self) -> None:
        """No more load is sent, and every request of it is counted. *Idempotent:* yes.

        Raises:
            Retryable: it does not end.
        """
        if "load" not in self.supervisor.processes():
            return
        self.supervisor.ask_to_stop("load")
        deadline = time.monotonic() + _STOP_WITHIN_S
        while self.supervisor.processes()["load"].state not in (State.STOPPED, State.EXITED, State.FATAL):
            self._check_deadline("load", deadline)

    def logs(self, name: str) -> Path:
        """Return the log of one of the lab's servers."""
        return self.home / "logs" / f"{name}.log"

    def secret(self, name: str) -> str:
        """Return one of the lab's generated secrets."""
        return (self.home / "secrets" / name).read_text().strip()

    def environment(self) -> dict[str, str]:
        """Return the variables by which a Slipway process finds this lab, a secret among them."""
        return {
            "PREFECT_API_AUTH_STRING": self.secret(AUTH),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_HOME": str(self.home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "SLIPWAY_ESTATE": str(self.estate_file),
        }

    def _prepare_folders(self) -> None:
        for name in ("logs", "instances", "haproxy", "prefect", "store", "releases", "work"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        for private in (self.home / "secrets", self.run_folder):
            private.mkdir(parents=True, exist_ok=True)
            private.chmod(0o700)

    def _remove_run_folder(self) -> None:
        if self.run_folder.exists():
            shutil.rmtree(self.run_folder)

    def _pick_ports(self) -> None:
        """Keep the remembered ports that are still free, pick others for the rest."""
        remembered = self.ports
        held: list[socket.socket] = []
        ports: dict[str, int] = {}
        others = _others()
        for name in files.PORT_NAMES:
            kept = [remembered[name]] if name in remembered else []
            probe = next(filter(None, map(_bind, chain(kept, others))))
            held.append(probe)
            ports[name] = probe.getsockname()[1]
        for probe in held:
            probe.close()
        files.write_private(self.home / "ports.json", json.dumps(ports, indent=2))

    def _write_files(self) -> None:
        ports, run = self.ports, self.run_folder
        for name in (*_DATABASES, _SUPERUSER, "campus-token", _WEBHOOK):
            self._make_secret(name, secrets.token_urlsafe(24))
        self._make_secret(AUTH, f"slipway:{secrets.token_urlsafe(24)}")
        self._make_secret(_BACKUP_KEY, str(pyrage.x25519.Identity.generate()))
        for database in _DATABASES:
            dsn = f"postgresql://{database}:{self.secret(database)}@127.0.0.1:{ports['postgresql']}/{database}"
            files.write_private(self.home / "secrets" / f"{database.replace('_', '-')}-dsn", dsn)
        exposed = [
            Exposed("campus", environment, f"127.0.0.1:{ports[environment]}") for environment in files.ENVIRONMENTS
        ]
        create_maps(exposed, self.home / "haproxy")
        files.write_private(
            self.home / "haproxy.cfg",
            render(
                exposed,
                socket=run / "haproxy.sock",
                state=self.home / "haproxy",
                metrics_address=f"127.0.0.1:{ports['haproxy_metrics']}",
            ),
        )
        files.write_private(self.home / "prometheus.yml", files.prometheus(ports))
        template = (ROOT / "deployments" / "estates" / "lab.yaml").read_text(encoding="utf-8")
        tools = Path(sys.executable).parent
        public_key = str(pyrage.x25519.Identity.from_str(self.secret(_BACKUP_KEY)).to_public())
        text = files.estate(
            template,
            ports,
            run=run,
            tools=tools,
            campus_repository=self.campus_repository,
            campus=ROOT / "examples" / "campus",
            backup_recipient=public_key,
        )
        files.write_private(self.estate_file, text)
        postgresql.initialise(self.home / "postgresql", _SUPERUSER, self.home / "secrets" / _SUPERUSER)
        files.write_private(self.home / "supervisord.conf", files.supervisord(run, self.home, programs(self, ROOT)))

    def _make_secret(self, name: str, text: str) -> None:
        if not (self.home / "secrets" / name).exists():
            files.write_private(self.home / "secrets" / name, text)

    def _start_supervisord(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.home / "supervisord.conf")]
        shell.detach(command, cwd=self.home, log=self.logs("supervisord"))
        deadline = time.monotonic() + _START_WITHIN_S
        while not self.is_up():
            self._check_deadline("supervisord", deadline)

    def _create_databases(self) -> None:
        for database in _DATABASES:
            postgresql.create_database(
                self.ports["postgresql"],
                superuser=_SUPERUSER,
                superuser_password=self.secret(_SUPERUSER),
                role=database,
                password=self.secret(database),
                database=database,
            )

    def _await(self, name: str, url: str, headers: Mapping[str, str] | None = None) -> None:
        deadline = time.monotonic() + _START_WITHIN_S
        while not _answers(url, headers):
            self._check_deadline(name, deadline)

    def _check_deadline(self, name: str, deadline: float) -> None:
        """Wait a moment, or give up on a server that has had its time or has died for good."""
        if time.monotonic() > deadline or self._is_fatal(name):
            raise Retryable(
                f"{name} did not do as asked",
                on=f"the lab in {self.home}",
                state="the rest of the lab runs",
                next_action=f"read {self.logs(name)}, then 'slipway up' again",
                facts={"last lines": _tail(self.logs(name))},
            )
        time.sleep(0.1)

    def _is_fatal(self, name: str) -> bool:
        if name == "supervisord" or not self.is_up():
            return False
        process = self.supervisor.processes().get(name)
        return process is not None and process.state is State.FATAL

    def _deploy(self) -> None:
        done = shell.run(
            [sys.executable, "-m", "deployments.cli", "apply"],
            cwd=ROOT,
            timeout_s=_START_WITHIN_S,
            redact=str,
            env=self.environment(),
        )
        if done.exit_code:
            raise Refused(
                "the deployments could not be put on the Prefect server",
                on=self.api_url,
                state="the lab runs, but no release can be started",
                next_action="read what it says below, then 'slipway up' again",
                facts={"last lines": "\n".join(done.tail)},
            )


def _others() -> Iterator[int]:
    """Yield ports, from one that is chosen by chance: two labs that start at once hardly choose the same."""
    first = secrets.randbelow(len(_PORTS))
    yield from chain(_PORTS[first:], _PORTS[:first])


def _bind(port: int) -> socket.socket | None:
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    return probe


def _pid_of(pid_file: Path) -> int | None:
    """Return the process that a pid file names, if it is a supervisord that still runs."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if b"supervisord" in command else None


def _answers(url: str, headers: Mapping[str, str] | None = None) -> bool:
    try:
        return httpx.get(url, timeout=2, headers=headers).is_success
    except httpx.HTTPError:
        return False


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
