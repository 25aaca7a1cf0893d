"""What only barman-cloud does, and the ways in which it fails, with a real cluster and moto's S3 server behind TLS."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.postgresql import USERS
from blocks.scratch.fence import require_inside
from blocks.users import find_user, own
from tasks.common.backups import BackupKind, Progress, RestoreTo
from tasks.common.errors import Refused, Retryable
from tests.support.backup_engines import Rigs
from tests.support.backup_engines.barman_cloud import SECRET_KEY, SERVER, BarmanCloudRig, rigs
from tests.support.postgresql import SUPERUSER
from tests.support.processes import running, wait_until
from tests.support.s3 import BUCKET, Moto, behind_tls, running_moto

pytestmark = [pytest.mark.server, pytest.mark.long]
SLEEPER = "import time; time.sleep(600)"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    with rigs(tmp_path_factory.mktemp("barman")) as found:
        yield found


@pytest.fixture
def rig(made: Rigs, tmp_path: Path) -> Iterator[BarmanCloudRig]:
    with made(tmp_path) as found:
        assert isinstance(found, BarmanCloudRig)
        yield found


def unseen(progress: Progress) -> None:
    del progress


def at(rig: BarmanCloudRig, moto: Moto, **bucket: object) -> dict[str, object]:
    """Return settings for a bucket of another server."""
    usual = rig.settings()["s3"]
    assert isinstance(usual, dict)
    return {"s3": {**usual, "endpoint": moto.place, "ca_file": str(moto.ca_file), **bucket}}


def test_wrong_keys_are_refused_and_not_shown(rig: BarmanCloudRig, tmp_path: Path) -> None:
    # One action without a check: the making of the bucket. From then on moto looks at the keys.
    env = {"INITIAL_NO_AUTH_ACTION_COUNT": "1"}
    with running_moto(tmp_path, env=env) as plain, behind_tls(plain, tmp_path) as moto:
        engine = rig.with_settings(**at(rig, moto), folder="wrong-engine")
        for use in (engine.check, engine.stored, lambda: engine.take(BackupKind.FULL, unseen)):
            with pytest.raises(Refused, match=r"InvalidAccessKeyId|403") as raised:
                use()
            assert "access_key" in raised.value.next_action or "grant" in raised.value.next_action
            assert SECRET_KEY not in str(raised.value)
        with pytest.raises(Refused, match="was not let in") as raised:
            engine._program.json("barman-cloud-backup-list")
        assert SECRET_KEY not in str(raised.value)
        assert "AKIAEXAMPLEOFNOTHING" not in str(raised.value)


def test_a_bucket_whose_server_is_gone_may_be_tried_again(rig: BarmanCloudRig, tmp_path: Path) -> None:
    with running_moto(tmp_path) as plain, behind_tls(plain, tmp_path) as moto:
        engine = rig.with_settings(**at(rig, moto), folder="gone-engine")
        assert engine.stored() == ()
    for use in (engine.check, engine.stored, engine.clean):
        with pytest.raises(Retryable, match="did not answer") as raised:
            use()
        assert moto.place in str(raised.value)
    with pytest.raises(Retryable):
        engine._program.json("barman-cloud-backup-list")


def test_a_bucket_that_does_not_exist_is_refused_and_not_made(rig: BarmanCloudRig) -> None:
    engine = rig.with_settings(**at(rig, rig.moto, bucket="mistyped"))
    for use in (engine.check, lambda: engine.take(BackupKind.FULL, unseen)):
        with pytest.raises(Refused, match="NoSuchBucket"):
            use()
    assert [each["Name"] for each in rig.moto.client().list_buckets()["Buckets"]] == [BUCKET]


def test_archiving_that_stops_silently_is_refused_by_the_check(rig: BarmanCloudRig) -> None:
    with rig.archiving_nothing(), pytest.raises(Refused, match="WAL does not arrive") as raised:
        rig.with_settings(archive_timeout="1s").check()
    assert "archive_command" in raised.value.next_action


def test_a_copy_that_cannot_fetch_its_wal_ends_and_does_not_take_that_for_the_end(
    rig: BarmanCloudRig, tmp_path: Path
) -> None:
    def fetched(command: str) -> int:
        filled = command.replace("%f", "0000000100000000000000FE").replace("%p", str(rig.folder / "wal"))
        return subprocess.run(["sh", "-c", filled], capture_output=True, timeout=60).returncode

    with running_moto(tmp_path) as plain, behind_tls(plain, tmp_path) as moto:
        program = rig.with_settings(**at(rig, moto), folder="copy")._program
        program.configure()
        command = program.fetching()
        assert SECRET_KEY not in command
        # It has asked, and there is none.
        assert fetched(command) == 1
    # It could not ask. PostgreSQL ends its recovery as failed only where the code is over 125.
    assert fetched(command) == 255


def test_complete_backups_of_others_and_their_processes_are_left_alone_and_what_a_dead_run_left_is_removed(
    rig: BarmanCloudRig,
) -> None:
    url = f"s3://{BUCKET}/{rig.path}"
    ours = [sys.executable, "-c", SLEEPER, "barman-cloud-backup", "--name=slipway", url, SERVER]
    theirs = [sys.executable, "-c", SLEEPER, "barman-cloud-backup", url, SERVER]
    program, cluster = rig.open()._program, rig.cluster
    options = ["--gzip", "--immediate-checkpoint", f"--host={cluster.folder / 'sockets'}", f"--port={cluster.port}"]
    program.command("barman-cloud-backup", before=(*options, f"--user={SUPERUSER}"))
    client, root = rig.moto.client(), f"{rig.path}/{SERVER}/base"
    (foreign,) = {key.split("/")[-2] for key in rig.keys("base/")}
    client.put_object(Bucket=BUCKET, Key=f"{root}/20200101T000000/data.tar.gz", Body=b"of a dead run")
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{root}/20200101T000001/data.tar.gz")
    log = rig.folder / "sleepers.log"
    with running(ours, log=log) as orphan, running(theirs, log=log) as stranger:
        removed = rig.open().clean()
        wait_until(lambda: orphan.poll() is not None, what="the orphan's end")
        assert stranger.poll() is None
    assert removed == (
        f"process {orphan.pid} of an interrupted backup",
        "the interrupted backup 20200101T000000",
        f"what was sent of {root}/20200101T000001/data.tar.gz",
    )
    assert {key.split("/")[-2] for key in rig.keys("base/")} == {foreign}
    assert rig.open().stored() == ()
    assert rig.open().clean() == ()


def test_tablespaces_come_back_beside_the_copy_and_never_in_the_place_of_the_originals(
    rig: BarmanCloudRig, tmp_path: Path
) -> None:
    place = rig.cluster.folder / "fast"
    own(place, find_user(USERS))
    rig.execute(f"create tablespace fast location '{place}'", "create table quick (n int) tablespace fast")
    try:
        ((path,),) = rig.execute("insert into quick values (1)", "checkpoint", "select pg_relation_filepath('quick')")
        backup = rig.open().take(BackupKind.FULL, unseen)
        rig.open().restore(RestoreTo(label=backup.label), tmp_path / "copy", unseen)
        (link,) = (tmp_path / "copy" / "pg_tblspc").iterdir()
        assert link.resolve() == tmp_path / "copy.tablespaces" / "fast"
        assert (tmp_path / "copy" / str(path)).read_bytes() == (rig.cluster.data / str(path)).read_bytes()
        require_inside(tmp_path / "copy")
    finally:
        rig.execute("drop table quick", "drop tablespace fast")
