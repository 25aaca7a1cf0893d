"""Rooms for work that is trusted with nothing: a folder, a user and a time of its own, and nothing left behind."""

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from blocks.files import system_errors
from blocks.guest import Guest
from blocks.shell import run
from tasks.common.checks import Checks
from tasks.common.errors import Refused

GROUPS = range(65520, 65534)
"""Numbers for groups that nobody has. *Source:* systemd, UIDS-GIDS.md, and Debian's policy, 9.2.2, leave them free."""
LOCKS = Path("/run/slipway-checks")
"""Where it is kept which rooms are taken: of the whole machine, as the groups are, whatever estates there are on it."""
_PROVE_WITHIN_S = 30.0
_CLEAR_WITHIN_S = 300.0
KEYS = (
    *(f".ssh/id_{kind}" for kind in ("rsa", "ecdsa", "ed25519")),
    ".aws/credentials",
    ".netrc",
    ".git-credentials",
    ".prefect/profiles.toml",
)
"""Where people and programs keep what gets them in, below a home."""


class Room:
    """Where one check works.

    Args:
        folder: its own; the guest can enter it, and changes what was handed over.
        guest: who works there.

    `private` is a folder beside it that the guest cannot enter, and that is there as long as the room is taken.
    """

    def __init__(self, folder: Path, guest: Guest) -> None:
        self.folder, self.guest = folder, guest
        self.private = folder.with_suffix(".private")

    def renew(self) -> None:
        """Nothing of the guest is left, neither files nor processes; it has an empty home again. *Idempotent:* yes.

        Raises:
            Unsafe: some of its processes could not be ended.
        """
        self.clear()
        with system_errors("the check's folder cannot be made", self.folder):
            self.folder.mkdir(mode=0o710)
            os.chown(self.folder, -1, self.guest.gid if self.guest.gid is not None else -1)
            self.folder.chmod(0o710)
            for path in (self.guest.home, self.guest.scratch):
                path.mkdir(mode=0o700)
                self.hand_over(path)

    def hand_over(self, folder: Path) -> None:
        """The folder, with everything in it, is the guest's. *Idempotent:* yes."""
        uid, gid = self.guest.uid, self.guest.gid
        if uid is None or gid is None:
            return
        for where, folders, files in os.walk(folder):
            for path in (where, *(os.path.join(where, name) for name in folders + files)):  # noqa: PTH118 - many
                os.chown(path, uid, gid, follow_symlinks=False)

    def clear(self) -> None:
        """Nothing of the guest is left. *Idempotent:* yes.

        Raises:
            Unsafe: some of its processes could not be ended.
        """
        self.guest.end_all()
        if not self.folder.exists():
            return
        if self.guest.uid is None:
            # Its maker may have closed a folder, which keeps nobody out but the maker.
            run(["chmod", "-R", "u+rwX", str(self.folder)], cwd=Path("/"), timeout_s=_CLEAR_WITHIN_S, redact=str)
        with system_errors("the check's folder cannot be removed", self.folder):
            shutil.rmtree(self.folder)

    def leave(self) -> None:
        """Nothing is left here at all. *Idempotent:* yes.

        Raises:
            Unsafe: some of the guest's processes could not be ended.
        """
        shutil.rmtree(self.private, ignore_errors=True)
        self.clear()

    def prove(self, kept: Sequence[Path], redact: Callable[[str], str]) -> None:
        """The guest can work here, and cannot read what is kept from it: it was tried.

        Args:
            kept: files that it must not read; those that there are not do not matter.
            redact: takes secrets out of a text.

        Raises:
            Refused: it can, or it cannot work here.
        """
        home = self.guest.home
        argv = ["find", str(home), *map(str, kept), "-maxdepth", "0", "-readable"]
        done = run(argv, cwd=Path("/"), timeout_s=_PROVE_WITHIN_S, redact=redact, capture_stdout=True, guest=self.guest)
        read = set(done.stdout.splitlines())
        if str(home) not in read:
            raise Refused(
                "the user of checks cannot reach the folder of its check",
                on=str(self.folder),
                next_action="set checks.folder in the estate file to a folder below which that user may go, such as "
                "/var/lib/slipway-checks",
                facts={"said": "\n".join(done.tail)} if done.tail else {},
            )
        if self.guest.uid is not None and (open_ := sorted(read - {str(home)})):
            raise Refused(
                f"the user of checks can read what is kept from it: {len(open_)} files",
                on=", ".join(open_),
                state="nothing of the commit was run",
                next_action="let only the worker's user read them (chmod 600), or choose another user for checks",
            )


@contextlib.contextmanager
def taken_room(checks: Checks, place: Path) -> Iterator[Room]:
    """A room is nobody else's for the length of the block; nothing of it is left afterwards.

    What a worker that was killed has left in it is cleared away before.

    Args:
        checks: how commands are kept apart.
        place: the folder that all rooms are in.

    Raises:
        Refused: commands cannot be kept apart here as the estate file wants it, or all rooms are taken.
        Unsafe: what was started there could not be ended.
    """
    uid = user_of(checks, os.geteuid())
    locks = LOCKS if uid is not None else place
    with system_errors("the folder of checks cannot be made", place):
        _require_own(place)
        locks.mkdir(mode=0o700, exist_ok=True)
    rooms = {group: _room(checks, place, uid, group) for group in GROUPS}
    for group, room in rooms.items():
        if room.folder.exists() or room.private.exists():
            with _taken(locks, group) as free:
                if free:
                    room.leave()
    with _any_taken(locks) as group:
        room = rooms[group]
        room.leave()
        room.private.mkdir(mode=0o700)
        try:
            room.renew()
            yield room
        finally:
            room.leave()


def _room(checks: Checks, place: Path, uid: int | None, group: int) -> Room:
    folder, ends_at_s = place / str(group), time.monotonic() + checks.at_most_s
    apart = (uid, group) if uid is not None else (None, None)
    return Room(folder, Guest(folder / "home", folder / "tmp", ends_at_s, *apart))


def user_of(checks: Checks, worker: int) -> int | None:
    """Return the user that commands are run as; None for the worker's own.

    Args:
        checks: what the estate file wants.
        worker: the worker's user.

    Raises:
        Refused: that is not possible, or not safe.
    """
    if checks.isolation == "same-user":
        if worker == 0:
            raise _not_apart("the worker is root, and checks.isolation is same-user", "let them run as another user")
        return None
    if worker != 0:
        raise _not_apart(
            "the worker is not root, so that it cannot run commands as another user",
            "run a worker for checks as root; or read 'What stays open' in docs/how-to/check-pull-requests.md, and set "
            "checks.isolation to same-user where nothing on the machine is worth stealing",
        )
    make = (
        "make a user (useradd --system --no-create-home slipway-check), and name it as checks.user in the estate file"
    )
    if checks.user is None:
        raise _not_apart("the estate names no user for checks", make)
    try:
        uid = pwd.getpwnam(checks.user).pw_uid
    except KeyError:
        raise _not_apart(f"there is no user {checks.user!r} on this machine", make) from None
    if uid == 0:
        raise _not_apart("the user for checks is root", make)
    return uid


def _not_apart(why: str, next_action: str) -> Refused:
    return Refused(
        f"a pull request's commands cannot be kept apart here: {why}",
        on="checks of the estate file",
        state="nothing of the commit was run",
        next_action=next_action,
    )


def _require_own(place: Path) -> None:
    if not place.exists():
        place.mkdir(parents=True)
        place.chmod(0o755)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Refused(
            "the folder of checks is not the worker's alone: somebody else owns it or can write to it",
            on=str(place),
            next_action="set checks.folder to a folder that belongs to the worker's user (chmod 755)",
        )


@contextlib.contextmanager
def _any_taken(locks: Path) -> Iterator[int]:
    for group in GROUPS:
        with _taken(locks, group) as free:
            if free:
                yield group
                return
    raise Refused(
        f"{len(GROUPS)} checks are at work on this machine already",
        on=str(locks),
        next_action="give the deployment 'check' a lower concurrency limit, or wait and run it again",
    )


@contextlib.contextmanager
def _taken(locks: Path, group: int) -> Iterator[bool]:
    """Yield whether the room was free; it is taken then, for the length of the block."""
    path = locks / f"{group}.lock"
    # Nobody else's to open: who holds it keeps others out.
    path.touch(mode=0o600)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
