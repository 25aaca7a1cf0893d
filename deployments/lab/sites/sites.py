"""The two sites in the lab: started, looked at and ended. What they keep is thrown away at the next start."""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from blocks import shell
from blocks.postgresql import USERS, find_binaries
from blocks.runtimes.supervisor_rpc import Supervisor
from blocks.users import as_user, find_user, own
from deployments.lab import files
from deployments.lab.files import Program
from deployments.lab.sites import backup, content, disks, ledger, machine, probes, programs, texts
from deployments.lab.sites.content import DATABASE
from deployments.lab.sites.network import Network, processes_in, require_namespaces
from deployments.lab.sites.topology import (
    DATABASE_NAME,
    DATABASE_PORT,
    DNS_API_PORT,
    DNS_PORT,
    INSTANCE_PORT,
    LEDGER,
    MEMBERS,
    SITES,
    SWITCH,
    WAN,
    Topology,
)
from tasks.common.errors import Refused, Retryable

ROOT = Path(__file__).resolve().parents[3]
API_KEY = "dns-api-key"
OBSERVER_DSN = "observer-dsn"
PATRONICTL = ROOT / ".tools" / "patroni" / "bin" / "patronictl"
_TOKEN = "campus-token"
PYTHON = ROOT / ".tools" / "patroni" / "bin" / "python"
_START_WITHIN_S = 60.0
# Its first argument is a file for the number of the process, by which a drill knows it.
_NOTED = ("sh", "-c", 'echo $$ >"$1"; shift; exec "$@"', "sh")


class SiteLab:
    """The two sites, in a folder.

    Args:
        var: the folder; everything is in its sub-folder `sites`.
        ends_with_us: the supervisor is killed when this process ends, however that happens.
        own_disks: each node of site A has a small file system of its own; a drill may fill it.
        own_backup: each node of site A hands its WAL to a repository that is at neither site; see `backup`.
    """

    def __init__(
        self, var: Path, *, ends_with_us: bool = False, own_disks: bool = False, own_backup: bool = False
    ) -> None:
        self.home = var.absolute() / "sites"
        self.mark = machine.MARK + sha256(str(self.home).encode()).hexdigest()[:6]
        self._ends_with_us, self._own_disks, self._own_backup = ends_with_us, own_disks, own_backup

    @property
    def run_folder(self) -> Path:
        """Return the folder for sockets, in the temporary folder: their paths must be short."""
        return Path(tempfile.gettempdir()) / f"slipway-{self.mark}"

    @property
    def _dns_folder(self) -> Path:
        """PowerDNS drops the right to enter folders that only root may: its own is where everybody may pass."""
        return self.run_folder / "dns"

    @property
    def topology(self) -> Topology:
        """Return the hosts and their addresses.

        Raises:
            Refused: the sites were never started.
        """
        try:
            number = int((self.home / "number").read_text())
        except FileNotFoundError:
            raise Refused(
                "the two sites do not run", on=str(self.home), next_action="start them: slipway sites up"
            ) from None
        return Topology(number, self.mark)

    @property
    def network(self) -> Network:
        """Return the network between the hosts."""
        return Network(self.topology, self.home)

    @property
    def supervisor(self) -> Supervisor:
        """Return what runs the servers; each is called by its host's name."""
        return Supervisor(self.run_folder / "supervisord.sock")

    def is_up(self) -> bool:
        """Return whether the sites run."""
        return bool(processes_in([f"{self.mark}-{SWITCH}"]))

    def up(self, say: Callable[[str], None]) -> None:
        """Both sites run: A takes writes, B follows it, and DNS sends users to A.

        *Idempotent:* yes; what runs is left alone. What is left of sites that were killed, these or others, is removed.

        Raises:
            Refused: a program is missing, or this machine lets us make no namespaces; says which.
            Retryable: a server did not answer in time; names its log.
        """
        if self.is_up():
            return
        require_namespaces()
        machine.require_programs(PYTHON, content.SCHEMA)
        with machine.locked():
            machine.sweep()
            self.down()
            self._prepare()
            say("making the network of the two sites")
            self.network.make()
            self._write_files()
            self._start_supervisord()
        say("starting etcd, HAProxy, PowerDNS and Patroni")
        for name in ("etcd-a", "etcd-b", "edge-a", "edge-b", "dns", LEDGER, "a1"):
            self.supervisor.add(name)
        self._await("dns", self._creates_zone)
        # It leads, as it was the first: the others come when it has begun to make the database.
        self._await("a1", (self.data("a1") / "PG_VERSION").exists)
        for name in ("a2", "a3"):
            self.supervisor.add(name)
        self._await("a1", lambda: self.role("a1") == "primary")
        self._await("edge-a", lambda: probes.leads(self.address("edge-a", WAN)))
        for name in ("b1", "b2", "app-a", "app-b"):
            self.supervisor.add(name)
        passwords = {role: self.secret(role) for role in (DATABASE, texts.OBSERVER)}
        system_id = content.create_database(self.dsn("a1", texts.SUPERUSER, "postgres"), passwords)
        files.write_private(self.home / "system-id", system_id)
        for name in (*MEMBERS["a"][1:], *MEMBERS["b"][1:]):
            self._await(name, lambda name=name: probes.streams(self.address(name)))  # type: ignore[misc]
        others = [self.address(name) for name in MEMBERS["a"][1:]]
        self._await("a1", lambda: any(probes.patroni(each).get("sync_standby") for each in others))
        self._await("app-a", lambda: probes.serves(self.address("edge-a", WAN)))
        self.supervisor.add("client")

    def down(self) -> bool:
        """Nothing of the sites runs, and nothing of their network is left; returns whether anything did.

        *Idempotent:* yes.

        Raises:
            Unsafe: a process did not end.
        """
        was_up = self.is_up()
        Network(Topology(0, self.mark), self.home).remove()
        disks.unmount_all(self.home)
        shutil.rmtree(self.run_folder, ignore_errors=True)
        return was_up

    def address(self, host: str, network: str = "") -> str:
        """Return a host's address: the first one, or that in the network."""
        return self.topology.address(host, network)

    def secret(self, name: str) -> str:
        """Return one of the sites' generated secrets."""
        return (self.home / "secrets" / name).read_text().strip()

    def logs(self, name: str) -> Path:
        """Return the log of one of the servers."""
        return self.home / "logs" / f"{name}.log"

    def door(self, site: str) -> Path:
        """Return the map file by which HAProxy knows whether a site's users are let in."""
        return self.home / "edges" / site / "door.map"

    def edge_socket(self, site: str) -> Path:
        """Return the runtime socket of a site's HAProxy."""
        return self.run_folder / f"edge-{site}.sock"

    def data(self, name: str) -> Path:
        """Return the folder of a node's database."""
        return self.disk(name) / "data"

    def disk(self, name: str) -> Path:
        """Return the folder that a node's own file system is mounted on, where it has one."""
        return self.home / "nodes" / name / "disk"

    def patroni_file(self, name: str) -> Path:
        """Return a node's configuration, which patronictl reads, too."""
        return self.home / "nodes" / name / "patroni.yml"

    def pid_file(self, name: str) -> Path:
        """Return the file with the number of a node's Patroni."""
        return self.home / "nodes" / name / "patroni.pid"

    @property
    def has_backup(self) -> bool:
        """Return whether site A hands its WAL to a repository."""
        return backup.folder(self.home).is_dir()

    @property
    def system_id(self) -> str:
        """Return the system identifier of the database, which is the same at both sites."""
        return (self.home / "system-id").read_text()

    def dsn(self, host: str, user: str = DATABASE, database: str = DATABASE) -> str:
        """Return the address, password included, of the database on a node or by a name that users resolve."""
        place = host if host == DATABASE_NAME else self.address(host)
        return f"postgresql://{user}:{self.secret(user)}@{place}:{DATABASE_PORT}/{database}?connect_timeout=2"

    def reference(self, name: str) -> str:
        """Return the reference to the address of a node's database, the ledger's, or the one that users have."""
        return f"file:{self.home / 'secrets' / name}-dsn"

    def role(self, name: str) -> str:
        """Return what Patroni says a node is; '' where it does not answer."""
        return str(probes.patroni(self.address(name)).get("role", ""))

    def kill_host(self, name: str) -> None:
        """Every process on the host was killed with -9, and none is there: as if its power were off.

        A database node stays so until `start_host`; what else there is, is started again by its supervisor.
        *Idempotent:* yes.
        """
        while found := self.network.processes(name):
            self.network.signal(name, found)
            time.sleep(0.02)

    def start_host(self, name: str) -> None:
        """The host's server has been started. *Idempotent:* yes."""
        self.supervisor.add(name)

    def _prepare(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        user = find_user(USERS)
        for name in ("logs", "secrets", "instances"):
            (self.home / name).mkdir(parents=True)
        (self.home / "secrets").chmod(0o700)
        users = (texts.SUPERUSER, texts.REPLICATOR, texts.OBSERVER, texts.API_USER, DATABASE, ledger.USER)
        for name in (*users, API_KEY, _TOKEN, backup.KEY):
            files.write_private(self.home / "secrets" / name, secrets.token_urlsafe(24))
        observer = f"postgresql://{texts.OBSERVER}:{self.secret(texts.OBSERVER)}@/postgres"
        files.write_private(self.home / "secrets" / OBSERVER_DSN, observer)
        self.run_folder.mkdir(mode=0o755)
        if self._own_backup:
            backup.prepare(self.home, self.run_folder, MEMBERS["a"])
        for name in (*(f"etcd-{site}" for site in SITES), *(f"edges/{site}" for site in SITES)):
            own(self.home / name, user)
        for name in (member for members in MEMBERS.values() for member in members):
            own(self.home / "nodes" / name, user)
            if self._own_disks and name in MEMBERS["a"]:
                disks.mount(self.disk(name), self.home / "nodes" / name / "disk.img")
            own(self.disk(name), user)
            own(self.data(name), user)
        own(self._dns_folder, user)
        files.write_private(self.home / "number", str(machine.free_number()))
        ledger.prepare(self.home, self.topology)

    def _write_files(self) -> None:
        topology, user = self.topology, find_user(USERS)
        passwords = {name: self.secret(name) for name in (texts.SUPERUSER, texts.REPLICATOR, texts.API_USER)}
        for site, members in MEMBERS.items():
            for name in members:
                folder = self.patroni_file(name).parent
                backed_up = self._own_backup and site == SITES[0]
                parameters = backup.parameters(self.home, self.run_folder, name) if backed_up else {}
                member = texts.Member(site, name, self.data(name), folder, find_binaries(), passwords, parameters)
                files.write_private(
                    self.patroni_file(name), texts.patroni(topology, member), user.pw_uid if user else None
                )
            files.write_private(self.door(site), f"{texts.DOOR_KEY} open\n")
            config = texts.edge(topology, site, self.edge_socket(site), self.door(site))
            files.write_private(self.home / "edges" / site / "haproxy.cfg", config)
        zones = self._dns_folder / "zones.sqlite3"
        content.make_zones(zones)
        server = texts.DnsServer(
            topology.address("dns"), DNS_PORT, DNS_API_PORT, topology.everything, zones, self._dns_folder
        )
        settings = texts.dns(server, self.secret(API_KEY))
        files.write_private(self._dns_folder / "pdns.conf", settings, user.pw_uid if user else None)
        if user is not None:
            os.chown(zones, user.pw_uid, user.pw_gid)
        self._write_addresses()
        files.write_private(
            self.home / "supervisord.conf", files.supervisord(self.run_folder, self.home, self._programs())
        )

    def _write_addresses(self) -> None:
        """What Slipway asks, and drills start, is in files of its own; see `estate`."""
        found = {DATABASE: self.dsn(DATABASE_NAME), LEDGER: ledger.dsn(self.topology, self.secret(ledger.USER))}
        # This machine does not ask the lab's DNS server: the address that it gives stands beside the name.
        found[f"{DATABASE}-{SITES[0]}"] = f"{found[DATABASE]}&hostaddr={self.address('edge-a', WAN)}"
        control = [sys.executable, "-m", "supervisor.supervisorctl", "-s", f"unix://{self.run_folder}/supervisord.sock"]
        for site in SITES:
            found[f"edge-{site}"] = f"{found[DATABASE]}&hostaddr={self.address(f'edge-{site}', WAN)}"
        found[backup.SUPERUSER_DSN] = self.dsn("edge-a", texts.SUPERUSER)
        for name in (member for members in MEMBERS.values() for member in members):
            found[name] = self.dsn(name)
            programs.write(self.patroni_file(name).parent, self.data(name), control, name)
        for name, address in found.items():
            files.write_private(self.home / "secrets" / f"{name}-dsn", address)

    def _programs(self) -> list[Program]:
        user = as_user(find_user(USERS))

        def on(host: str, argv: list[str], *, restarts: bool = True, **env: str) -> Program:
            return Program(host, self.network.command(host, argv), env, restarts=restarts)

        found = [
            on("dns", [*user, "pdns_server", f"--config-dir={self._dns_folder}"]),
            on(LEDGER, ledger.command(self.home, self.topology)),
            # So that somebody writes something: the age of the newest write says what a failover would lose.
            on(
                "client",
                [sys.executable, "-m", "deployments.cli", "heartbeat", self.reference(DATABASE)],
                PYTHONPATH=str(ROOT),
            ),
        ]
        for site, members in MEMBERS.items():
            found.append(on(f"etcd-{site}", [*user, *texts.etcd(self.topology, site, self.home / f"etcd-{site}")]))
            # As root: it reads the state that Slipway, as root in the lab, writes, and makes its own socket.
            found.append(on(f"edge-{site}", ["haproxy", "-db", "-f", str(self.home / "edges" / site / "haproxy.cfg")]))
            # As upstream's unit file has it (Restart=no): what has died is for the other nodes, and for people.
            found += [
                on(
                    name,
                    [
                        *user,
                        *_NOTED,
                        str(self.pid_file(name)),
                        *files.DEAF,
                        str(PYTHON),
                        "-m",
                        "patroni",
                        str(self.patroni_file(name)),
                    ],
                    restarts=False,
                )
                for name in members
            ]
            found.append(
                on(
                    f"app-{site}",
                    [*user, sys.executable, "-m", "campus"],
                    HOST=self.address(f"app-{site}"),
                    PORT=str(INSTANCE_PORT),
                    PYTHONPATH=str(ROOT / "examples" / "campus"),
                    CAMPUS_DATABASE_URL=self._inside(site),
                    CAMPUS_TOKEN_SECRET=self.secret(_TOKEN),
                    SLIPWAY_RELEASE=f"site-{site}",
                )
            )
        return found

    def _inside(self, site: str) -> str:
        """Return the address of the site's own database, as its applications reach it: through the site's edge."""
        place = self.address(f"edge-{site}", site)
        return f"postgresql://{DATABASE}:{self.secret(DATABASE)}@{place}:{DATABASE_PORT}/{DATABASE}"

    def _start_supervisord(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.home / "supervisord.conf")]
        prefix = list(shell.ENDS_WITH_US) if self._ends_with_us else []
        shell.detach([*prefix, *self.network.command(SWITCH, command)], cwd=self.home, log=self.logs("supervisord"))

        def answers() -> bool:
            with contextlib.suppress(Retryable):
                self.supervisor.processes()
                return True
            return False

        self._await("supervisord", answers)

    def _creates_zone(self) -> bool:
        server = f"{self.address('dns')}:{DNS_API_PORT}"
        return content.create_zone(server, self.secret(API_KEY), self.address("edge-a", WAN))

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_WITHIN_S
        while not ready():
            if time.monotonic() > deadline:
                raise Retryable(
                    f"{name} did not do as asked within {_START_WITHIN_S:g} s",
                    on=f"the two sites in {self.home}",
                    state="the rest of the sites runs",
                    next_action=f"read {self.logs(name)}; 'slipway sites down', then start them again",
                )
            time.sleep(0.1)
