"""The flow `recover` on real servers: what served is gone, and comes back from ledger, artefact store and backups.

The backups are those of the driver in memory: that data comes back from real ones is what the tests of `restore` show.
"""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from blocks.memory.backups import MemoryBackups, MemoryEngine
from flows.backup import backup
from flows.recover import recover
from tasks.backup.request import BackupRequest
from tasks.common.errors import Refused
from tasks.recover.request import RecoverRequest
from tests.support.haproxy import running_haproxy
from tests.support.prefect_server import flows_of
from tests.support.processes import free_port
from tests.support.prometheus import prometheus
from tests.support.small import RUN_SECRET, TEST_SECRET, Small, small_estate
from tests.support.small_checks import RUN_VALUE, TEST_VALUE
from tests.support.supervisor import running_supervisord

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "prometheus"
    folder.mkdir()
    with prometheus(folder) as address:
        yield address


@pytest.fixture
def lost(
    tmp_path: Path, database_url: str, metrics: str, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Small, str]]:
    """A service that was released and backed up, and of whose place nothing is left; and the release that served."""
    monkeypatch.setenv(RUN_SECRET, RUN_VALUE)
    monkeypatch.setenv(TEST_SECRET, TEST_VALUE)
    name = uuid.uuid4().hex
    plan = {
        "engine": {"driver": "memory", "world": name},
        "objectives": {"rto": "1h", "rpo": "1h"},
        "targets": {"here": {"source": True, "server": {"driver": "memory", "data": "data"}}},
    }
    with flows_of(prefect_api), small_estate(tmp_path, database_url, metrics) as small:
        small.write_estate(metrics, backups={"shop": plan})
        ended = small.release(small.commit())
        assert ended.error is None
        MemoryEngine.worlds.setdefault(name, MemoryBackups()).write("an order")
        backup(BackupRequest(plan="shop", estate=str(small.file)))
        with running_haproxy() as haproxy, running_supervisord() as supervisor:
            # Another machine: what ran on the old one, and its disks, are gone.
            small.haproxy, small.supervisor = haproxy, supervisor
            small.ports = {name: {slot: [free_port()] for slot in slots} for name, slots in small.ports.items()}
            small.url["production"] = f"http://127.0.0.1:{haproxy.port}"
            small.url["staging"] = f"http://127.0.0.1:{haproxy.elsewhere_port}"
            for gone in ("releases", "work"):
                shutil.rmtree(tmp_path / gone, ignore_errors=True)
            small.write_estate(metrics, backups={"shop": plan})
            yield small, small.record(ended).release


def recovered(small: Small, **asked: Any) -> BaseException | None:
    """Run the flow to its end; returns what it raised."""
    request = RecoverRequest(service="campus", estate=str(small.file), requested_by="ann", **asked)
    found = recover(request, return_state=True).result(raise_on_failure=False)
    return found if isinstance(found, BaseException) else None


def artifact() -> str:
    with get_client(sync_client=True) as client:
        key = ArtifactFilter(key=ArtifactFilterKey(any_=["recover-campus-production"]))
        (found, *_) = sorted(client.read_artifacts(artifact_filter=key), key=lambda each: each.created, reverse=True)
    return str(found.data)


def test_service_of_which_nothing_is_left_comes_back_with_its_data_and_its_last_release(
    lost: tuple[Small, str],
) -> None:
    small, release = lost
    assert small.served() == {"503"}
    assert recovered(small) is None
    assert small.served() == {release}
    assert "an order" in (small.folder / "data" / "content.txt").read_text()
    text = artifact()
    assert "**It is back**" in text and "the objective is 2 h: met" in text
    steps = ["decide what is brought back", "restore shop into here", f"deploy {release[:7]}", "visit it as a user"]
    assert [text.index(step) for step in steps] == sorted(text.index(step) for step in steps)
    again = recovered(small)
    assert isinstance(again, Refused) and "where nothing is left" in again.what
    assert small.served() == {release}


def test_recovery_that_would_find_nothing_or_something_in_its_way_changes_nothing(lost: tuple[Small, str]) -> None:
    small, _ = lost
    unknown = recovered(small, plans=["shpo"])
    assert isinstance(unknown, Refused) and "shpo comes back to" in unknown.what
    nowhere = recovered(small, site="eu-west")
    assert isinstance(nowhere, Refused) and "no failover of campus" in nowhere.what
    never = recovered(small, release="0123456")
    assert isinstance(never, Refused) and "no kept release" in never.what
    data = small.folder / "data"
    data.mkdir()
    (data / "thesis.tex").write_text("years of work")
    filled = recovered(small)
    assert isinstance(filled, Refused) and "there is data where this would come back to" in filled.what
    assert "**It failed**" in artifact()
    assert (data / "thesis.tex").read_text() == "years of work"
    assert small.served() == {"503"} and not small.processes()


def test_ledger_that_knows_no_release_says_what_to_restore_first(lost: tuple[Small, str]) -> None:
    small, _ = lost
    file = yaml.safe_load(small.file.read_text())
    file["environments"]["elsewhere"] = {**file["environments"]["staging"]}
    del file["environments"]["staging"], file["environments"]["production"]
    small.file.write_text(yaml.safe_dump(file))
    found = recovered(small, environment="elsewhere")
    assert isinstance(found, Refused) and "restore the ledger first" in found.next_action
