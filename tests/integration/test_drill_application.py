"""The documented drills of an application: campus behind HAProxy, its instances killed with -9, one and then all.

Users are the drill's client. What HAProxy asks to know whether an instance is well is no user's request.
"""

import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from blocks.runtimes.listening import listeners
from deployments.lab.sites.estate import EXAMPLES
from tasks.common.drill_notes import ROUND
from tasks.drill.measure import Kind, Result
from tests.integration.test_backups_command import ESTATE
from tests.support.another_client import AGREE_WITHIN_S, visiting_beside
from tests.support.campus import tree_of
from tests.support.drill_place import RunPlace
from tests.support.drilling import read_log
from tests.support.needs import need
from tests.support.processes import free_port, wait_until
from tests.support.supervisor import supervisor_folder, supervisord_in

_log = logging.getLogger(__name__)
pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
_PATH = "/api/v1/courses"
_HAPROXY = """\
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  option redispatch
  retries 3
frontend users
  bind 127.0.0.1:{port}
  default_backend campus
backend campus
  option httpchk GET /health/ready
  default-server check inter 500ms fall 2 rise 1
"""


@dataclass(frozen=True)
class Application:
    """Instances of campus that a supervisord starts again, HAProxy in front of them, and drills of them."""

    place: RunPlace
    port: int
    instances: tuple[int, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{_PATH}"

    def serves(self) -> bool:
        """Return whether every instance listens, and users are answered."""
        try:
            good = httpx.get(self.url, timeout=5).is_success
        except httpx.TransportError:
            return False
        return good and all(listeners(port) for port in self.instances)

    def processes(self) -> list[frozenset[int]]:
        return [frozenset(listeners(port)) for port in self.instances]

    def use(self, name: str) -> None:
        found = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
        # To plain YAML 1.1, 'on' is a truth value.
        found["fault"] = {"on" if key is True else key: value for key, value in found["fault"].items()}
        # A busy machine is no fault: fewer requests, and more time for each.
        load = {"writes_per_s": 0, "reads_per_s": 0, "requests_per_s": 20, "answered_within": "4s"}
        self.place.write({**found, "load": load, "objectives": {"rto": "5m"}})


@pytest.fixture(scope="module")
def application(
    request: pytest.FixtureRequest, prefect_api: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    folder, cluster = tmp_path_factory.mktemp("app"), request.getfixturevalue("postgresql_cluster")
    tree, port, instances = tree_of(folder / "campus"), free_port(), tuple(free_port() for _ in range(3))
    servers = "".join(f"  server campus{number} 127.0.0.1:{each}\n" for number, each in enumerate(instances))
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(port=port) + servers)
    (folder / "dsn").write_text(cluster.database())
    facts = {f"port_{number}": str(each) for number, each in enumerate(instances, 1)}
    listed = {"url": f"http://127.0.0.1:{port}{_PATH}", "facts": facts, "objectives": {"rto": "5m"}}
    drills = {"drills": {"clusters": {"campus-app": listed}}}
    (folder / "estate.yaml").write_text(ESTATE + yaml.safe_dump(drills))
    database = cluster.database()
    with supervisor_folder() as programs:
        env = f'CAMPUS_DATABASE_URL="{database}",CAMPUS_TOKEN_SECRET="only for this test"'
        for number, each in enumerate(instances):
            own = f'{env},PORT="{each}"'
            _program(programs, f"campus{number}", f"{sys.executable} -m campus", tree, own)
        _program(programs, "haproxy", f"{need('haproxy')} -db -f {folder / 'haproxy.cfg'}", folder, 'HOME="/"')
        with supervisord_in(programs):
            found = Application(RunPlace(folder, prefect_api, ()), port, instances)
            wait_until(found.serves, within_s=120, what="campus")
            yield found


def _program(folder: Path, name: str, command: str, directory: Path, environment: str) -> None:
    (folder / "programs" / f"{name}.conf").write_text(
        f"[program:{name}]\ncommand={command}\ndirectory={directory}\nenvironment={environment}\n"
        f"autorestart=true\nstdout_logfile={folder}/{name}.log\nredirect_stderr=true\n"
    )


@pytest.mark.parametrize(("name", "killed"), [("instance-killed", 1), ("all-instances-killed", 3)])
def test_instances_that_are_killed_are_started_again_and_users_are_who_says_for_how_long_they_were_away(
    application: Application, tmp_path: Path, name: str, killed: int
) -> None:
    application.use(name)
    wait_until(application.serves, within_s=60, what="campus")
    before, began_s = application.processes(), time.monotonic()
    with visiting_beside(application.url, tmp_path, 20, 4.0) as other:
        ran = application.place.practise(name)
        until_s = time.monotonic()
    ran.require_passed()
    notes = application.place.open().ledger.drills.notes(ran.id)
    facts: Any = next(each.facts for each in notes if each.kind == ROUND)
    log = read_log(application.place.folder / "drills" / "evidence" / ran.id / "round-01.jsonl")
    requests = log.of(Kind.REQUEST)
    failed = [each for each in requests if each.result is not Result.OK]
    _log.info("%s: RTO %s s, %d of %d requests failed", name, facts["rto_s"], len(failed), len(requests))
    _log.info("%s: another client %.2f s; late %.2f s", name, other.rto_s(began_s, until_s), other.late_s())
    assert abs((facts["rto_s"] or 0.0) - other.rto_s(began_s, until_s)) < AGREE_WITHIN_S
    assert facts["outcome"] == "recovers-by-itself" and len(requests) == len(log.operations) > 200
    wait_until(application.serves, within_s=60, what="all instances")
    after = application.processes()
    assert sum(old.isdisjoint(new) for old, new in zip(before, after, strict=True)) == killed
    if killed == len(before):
        assert failed and facts["rto_s"] > 0, "nobody was there to answer"
