"""pgBackRest with its second repository in a bucket, of moto's S3 server behind TLS, and how that fails."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from blocks.backups.pgbackrest import PgBackRestEngine
from tasks.common.backups import SECOND, BackupKind, Progress, RestoreTo, StoredBackup
from tasks.common.errors import Refused, Retryable, Unsafe
from tests.support.backup_engines.clusters import make_small
from tests.support.backup_engines.pgbackrest import KEY, STANZA, PgBackRestRig, rigs
from tests.support.processes import wait_until
from tests.support.s3 import BUCKET, Moto, behind_tls, running_moto

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.long]
SECRET_KEY = "the-secret-key-of-the-second-region"


@dataclass(frozen=True)
class Taken:
    """A backup in a folder, and its copy in a bucket."""

    rig: PgBackRestRig
    plain: Moto
    moto: Moto
    engine: PgBackRestEngine
    first: StoredBackup
    copied: StoredBackup


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    folder = tmp_path_factory.mktemp("bucket")
    with rigs(folder) as made, made(folder) as rig, running_moto(folder) as plain, behind_tls(plain, folder) as moto:
        assert isinstance(rig, PgBackRestRig)
        make_small(rig.cluster)
        engine = opened(rig, moto)
        rig.write("one")
        first = engine.take(BackupKind.FULL, unseen)
        yield Taken(rig, plain, moto, engine, first, engine.copy(first.label, unseen))


def opened(rig: PgBackRestRig, moto: Moto, **settings: object) -> PgBackRestEngine:
    """Return the engine with its first repository in a folder, and its second one in the bucket."""
    (rig.folder / "access-key").write_text("AKIAEXAMPLEOFNOTHING")
    (rig.folder / "secret-key").write_text(SECRET_KEY)
    bucket = {
        "bucket": BUCKET,
        "endpoint": moto.place,
        "region": "eu-central-1",
        "access_key": "file:access-key",
        "secret_key": "file:secret-key",
        "path_style": True,
        "ca_file": str(moto.ca_file),
    }
    repositories = [
        {"path": "one", "cipher_pass": "file:key"},
        {"path": f"/of/{rig.folder.name}", "cipher_pass": "file:key", "s3": bucket},
    ]
    return rig.with_settings(**{"repositories": repositories, "io_timeout": "3s", **settings})


def unseen(progress: Progress) -> None:
    del progress


def objects(rig: PgBackRestRig, moto: Moto, below: str) -> dict[str, int]:
    listed = moto.client().list_objects_v2(Bucket=BUCKET, Prefix=f"of/{rig.folder.name}/{below}")
    return {item["Key"]: item["Size"] for item in listed.get("Contents", ())}


def test_a_copy_in_a_bucket_is_verified_and_restored_by_itself(taken: Taken, tmp_path: Path) -> None:
    rig, moto, engine, copied = taken.rig, taken.moto, taken.engine, taken.copied
    assert engine.copy(taken.first.label, unseen) == copied
    assert engine.stored(SECOND) == (copied,)
    assert engine.verify(copied.label, SECOND) == ()
    at = engine.reaches(SECOND)
    rig.after(copied.ended_at)
    rig.write("two")
    ((name,),) = rig.execute("select pg_walfile_name(pg_switch_wal())")
    wait_until(lambda: [key for key in objects(rig, moto, "archive") if str(name) in key], what=f"WAL {name}")
    # The first repository is lost with all that was kept of the source.
    lost = opened(rig, moto, folder="new-machine")
    (rig.folder / "one").rename(rig.folder / "lost")
    try:
        reached = lost.reaches(SECOND)
        assert at is not None
        assert reached is not None
        assert reached > at
        assert lost.restore(RestoreTo(), tmp_path / "copy", unseen, SECOND) == copied
        assert rig.read(tmp_path / "copy") == ("one", "two")
    finally:
        (rig.folder / "lost").rename(rig.folder / "one")


def _flip_largest(rig: PgBackRestRig, moto: Moto, below: str) -> None:
    found = objects(rig, moto, below)
    key, client = max(found, key=lambda key: found[key]), moto.client()
    content = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[len(content) // 2] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))


def test_a_bucket_whose_server_is_gone_may_be_tried_again(taken: Taken, tmp_path: Path) -> None:
    with behind_tls(taken.plain, tmp_path) as gone:
        # It tries four times.
        engine = opened(taken.rig, gone, io_timeout="1s")
        assert engine.stored(SECOND) == (taken.copied,)
    with pytest.raises(Retryable) as raised:
        engine.copy(taken.first.label, unseen)
    assert f"unable to connect to '{gone.place}'" in str(raised.value)
    assert SECRET_KEY not in str(raised.value)
    # What lies in the folder can be used all the same.
    assert engine.stored() == (taken.first,)
    engine.restore(RestoreTo(label=taken.first.label, backup_only=True), tmp_path / "copy", unseen)


def test_wrong_keys_of_a_bucket_are_refused_and_not_shown(taken: Taken, tmp_path: Path) -> None:
    # One action without a check: the making of the bucket. From then on moto looks at the keys.
    env = {"INITIAL_NO_AUTH_ACTION_COUNT": "1"}
    with running_moto(tmp_path, env=env) as plain, behind_tls(plain, tmp_path) as moto:
        engine = opened(taken.rig, moto)
        for use in (engine.check, lambda: engine.copy(taken.first.label, unseen), lambda: engine.stored(SECOND)):
            with pytest.raises(Refused) as raised:
                use()
            for secret in (SECRET_KEY, "AKIAEXAMPLEOFNOTHING", KEY):
                assert secret not in str(raised.value)


def test_damage_in_a_bucket_is_found_and_never_restored(taken: Taken, tmp_path: Path) -> None:
    engine = opened(taken.rig, taken.moto)
    _flip_largest(taken.rig, taken.moto, f"backup/{STANZA}/{taken.copied.label}/bundle")
    assert engine.verify(taken.copied.label, SECOND)
    with pytest.raises(Unsafe):
        engine.restore(RestoreTo(label=taken.copied.label, backup_only=True), tmp_path / "copy", unseen, SECOND)
    assert engine.verify(taken.first.label) == ()
