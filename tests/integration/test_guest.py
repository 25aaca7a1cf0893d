"""Commands of a guest: without rights, without the worker's environment, and ended wherever they hide."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.guest import Guest, members_of
from blocks.rooms import GROUPS, LOCKS, Room, taken_room, user_of
from blocks.shell import TimedOut, run
from tasks.common.checks import Checks
from tasks.common.errors import Refused
from tests.support.needs import missing, need
from tests.support.processes import short_folder, wait_until

GROUP = GROUPS[-1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that others may enter: pytest's own is closed to them by every session that begins."""
    with short_folder() as made:
        made.chmod(0o711)
        yield made


@pytest.fixture
def guest(folder: Path) -> Guest:
    need("setpriv")
    if os.geteuid() != 0:
        missing("only root can run commands as another user")
    return Guest(folder, folder, time.monotonic() + 60, 65534, GROUP)


def said(guest: Guest, script: str, **env: str) -> list[str]:
    lines: list[str] = []
    run(["sh", "-c", script], cwd=Path("/"), timeout_s=30, redact=str, env=env, on_line=lines.append, guest=guest)
    return lines


def test_command_has_another_user_one_group_no_rights_and_no_environment(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "secret")
    lines = said(guest, "id -u; id -G; grep -E 'NoNewPrivs|CapEff' /proc/self/status; env", MINE="one two=three")
    assert lines[:2] == ["65534", str(GROUP)]
    assert {"CapEff:\t0000000000000000", "NoNewPrivs:\t1", "MINE=one two=three", f"HOME={guest.home}"} <= set(lines)
    names = {line.partition("=")[0] for line in lines[4:]}
    assert names <= {"PATH", "HOME", "LANG", "TMPDIR", "MINE", "PWD", "SHLVL", "_", "OLDPWD"}


def test_what_is_preloaded_is_not_loaded_with_the_worker_s_rights(guest: Guest) -> None:
    lines = said(guest, "true", LD_PRELOAD="/nowhere/evil.so")
    # Once: by the command itself, and neither by setpriv nor by env, which have rights still.
    assert len([line for line in lines if "cannot be preloaded" in line]) == 1


def test_process_that_has_left_its_group_and_session_ends_with_the_command(guest: Guest) -> None:
    said(guest, "setsid sh -c 'trap \"\" TERM HUP; sleep 600 & sleep 600' > /dev/null 2>&1 & sleep 0.5")
    assert members_of(GROUP) == []


def test_process_stays_where_others_may_run_beside_it_until_all_are_ended(guest: Guest) -> None:
    beside = Guest(guest.home, guest.scratch, guest.ends_at_s, guest.uid, guest.gid, alone=False)
    said(beside, "setsid sleep 600 > /dev/null 2>&1 & sleep 0.2")
    assert members_of(GROUP)
    guest.end_all()
    assert members_of(GROUP) == []


def test_command_ends_when_the_guest_s_time_is_over(guest: Guest) -> None:
    short = Guest(guest.home, guest.scratch, time.monotonic() + 0.5, guest.uid, guest.gid)
    with pytest.raises(TimedOut):
        said(short, "sleep 600")
    with pytest.raises(TimedOut):
        said(short, "sleep 600")


def test_flood_of_lines_is_cut(guest: Guest) -> None:
    lines = said(guest, "yes | head -n 100000")
    assert len(lines) == 2001
    assert lines[-1] == "[more than 2000 lines: the rest is not shown]"


def test_two_rooms_are_apart_and_a_third_waits_for_nobody(guest: Guest, folder: Path) -> None:
    checks = Checks(user="nobody")
    with taken_room(checks, folder / "checks") as one, taken_room(checks, folder / "checks") as two:
        assert one.guest.gid != two.guest.gid
        (one.guest.home / "mine").write_text("of one")
        assert "Permission denied" in " ".join(said(two.guest, f"cat {one.guest.home}/mine"))
        said(one.guest, f"mkdir -p {one.guest.home}/closed/deep; chmod 000 {one.guest.home}/closed")
    wait_until(lambda: not one.folder.exists(), what="the end of the room")
    assert list((folder / "checks").iterdir()) == []


def test_guest_cannot_take_a_room_from_others(guest: Guest, folder: Path) -> None:
    need("flock")
    with taken_room(Checks(user="nobody"), folder / "checks") as room:
        locks = " ".join(f"{LOCKS}/{group}.lock" for group in GROUPS)
        lines = said(room.guest, f"for lock in {locks}; do flock -n $lock echo TAKEN; done; ls {LOCKS}")
    assert "Permission denied" in " ".join(lines)
    assert "TAKEN" not in lines


def test_rooms_of_two_estates_on_one_machine_have_no_group_in_common(guest: Guest, folder: Path) -> None:
    checks = Checks(user="nobody")
    with taken_room(checks, folder / "one") as one, taken_room(checks, folder / "two") as two:
        assert one.guest.gid != two.guest.gid


def test_rooms_that_dead_workers_have_left_are_cleared_and_those_at_work_are_not(guest: Guest, folder: Path) -> None:
    checks, place = Checks(user="nobody"), folder / "checks"
    with taken_room(checks, place) as at_work:
        for name in (f"{GROUPS[5]}", f"{GROUPS[5]}.private"):
            (place / name / "home").mkdir(parents=True)
        with taken_room(checks, place) as room:
            assert {path.name for path in place.iterdir()} == {
                at_work.folder.name, at_work.private.name, room.folder.name, room.private.name
            }  # fmt: skip


@pytest.mark.parametrize("kind", ["sticky", "link", "of others"])
def test_folder_that_is_not_the_worker_s_alone_is_refused_and_left_as_it_is(
    guest: Guest, folder: Path, kind: str
) -> None:
    place = folder / "place"
    (folder / "real").mkdir()
    if kind == "link":
        place.symlink_to(folder / "real")
    else:
        place.mkdir()
        place.chmod(0o1777 if kind == "sticky" else 0o755)
        os.chown(place, 0 if kind == "sticky" else 65534, -1)
    mode = place.lstat().st_mode
    with pytest.raises(Refused, match="not the worker's alone"), taken_room(Checks(user="nobody"), place):
        raise AssertionError
    assert (place.lstat().st_mode, list((folder / "real").iterdir())) == (mode, [])


def test_guest_who_is_the_worker_s_own_user_has_neither_its_environment_nor_new_rights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("setpriv")
    monkeypatch.setenv("PLANTED", "secret")
    room = Room(folder / "room", Guest(folder / "room/home", folder / "room/tmp", time.monotonic() + 60))
    room.renew()
    room.prove([Path("/proc/self/environ")], str)
    lines = said(room.guest, "id -u; grep NoNewPrivs /proc/self/status; env; mkdir -p ~/shut/in; chmod 000 ~/shut")
    assert lines[:2] == [str(os.geteuid()), "NoNewPrivs:\t1"]
    assert "PLANTED" not in " ".join(lines)
    room.clear()
    assert not room.folder.exists()


@pytest.mark.parametrize(
    ("settings", "worker", "problem"),
    [
        ({}, 0, "names no user"),
        ({"user": "nobody"}, 1000, "the worker is not root"),
        ({"user": "no-such-user-here"}, 0, "there is no user"),
        ({"user": "root"}, 0, "is root"),
        ({"isolation": "same-user"}, 0, "the worker is root"),
    ],
)
def test_commands_that_cannot_be_kept_apart_are_refused(settings: dict[str, str], worker: int, problem: str) -> None:
    with pytest.raises(Refused, match=problem) as raised:
        user_of(Checks.model_validate(settings), worker)
    assert raised.value.next_action


def test_worker_s_own_user_is_used_only_where_the_estate_says_so() -> None:
    assert user_of(Checks(isolation="same-user"), 1000) is None
